"""How often a network is judged the same in float32 as in float64."""

from dataclasses import replace

import pytest
import torch

from lyapopt.bench.tables.cases import case
from lyapopt.bench.tables.float32_verdicts import _Agreement, _measured, agreement
from lyapopt.probe import Probe, Verdict


def test_every_optimiser_of_a_network_is_compared() -> None:
    [row] = agreement(["breast-cancer-small"], configurations=3).to_dict("records")
    assert row["configurations"] == 9
    assert row["verdicts"] >= 0.95


def test_two_measurements_agree_within_the_interval_or_where_they_are_near() -> None:
    of = case("breast-cancer-small", "sgd")
    [wide] = _measured(of, of.cells[:1], Probe(horizon=3), torch.float64)
    wide = replace(wide, exponent=0.1, low=None, high=None, verdict=Verdict.EDGE)
    narrow = replace(wide, exponent=0.104)
    assert _Agreement.of(narrow, wide) == _Agreement(verdicts=True, exponents=True)
    far = replace(wide, exponent=0.106, verdict=Verdict.HOT)
    assert _Agreement.of(far, wide) == _Agreement(verdicts=False, exponents=False)
    assert _Agreement.of(far, replace(wide, low=0.05, high=0.11)).exponents
    assert _Agreement.of(*[replace(wide, exponent=float("nan"))] * 2).exponents


def test_configurations_are_those_of_the_grid_once_each(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []
    module = "lyapopt.bench.tables.float32_verdicts._measured"
    monkeypatch.setattr(module, lambda of, cells, *_: seen.append(cells) or [])
    agreement(["digits-small"], configurations=10_000)
    assert all(len({repr(cell) for cell in cells}) == len(cells) == 126 for cells in seen)
