"""Figures of the benchmark show the numbers that they were given."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lyapopt.figures import (
    claim_map,
    exponent_curves,
    mean_rank,
    number_table,
    regret_against_compute,
    signal_against_cost,
)
from lyapopt.figures.claim_map import collect as collect_claims
from lyapopt.figures.comparisons import collect_regret
from lyapopt.figures.exponent_curves import collect_curves
from lyapopt.figures.signal_against_cost import collect as collect_signals


def test_regret_is_averaged_over_runs_and_the_best_method_comes_first() -> None:
    rows = [
        {"method": m, "family": "rival", "budget": b, "regret": r}
        for m, b, r in (("bad", 2, 0.6), ("bad", 2, 0.8), ("good", 2, 0.1), ("good", 4, 0.05))
    ]
    good, bad = collect_regret(pd.DataFrame(rows))
    assert (good.method, good.mean.tolist()) == ("good", [0.1, 0.05])
    assert bad.mean.tolist() == pytest.approx([0.7])
    assert bad.error.tolist() == pytest.approx([0.1])
    figure = regret_against_compute(pd.DataFrame(rows), ["good"])
    assert list(figure.data[1].x) == [2, 4]


def test_ranks_leave_out_who_has_none() -> None:
    summary = pd.DataFrame(
        {
            "method": ["a", "b", "c"],
            "family": ["ours", "rival", "control"],
            "rank": [2.0, 1.0, np.nan],
            "rank_low": [1.5, 0.9, np.nan],
            "rank_high": [2.5, 1.1, np.nan],
        }
    )
    figure = mean_rank(summary)
    assert [list(trace.y) for trace in figure.data] == [["a"], ["b"]]
    assert figure.data[0].error_x.array[0] == pytest.approx(0.5)


def test_signals_are_averaged_over_cases_at_every_length() -> None:
    frame = pd.DataFrame(
        {
            "signal": ["exponent"] * 4,
            "case": ["a", "a", "b", "b"],
            "order": [5, 10, 5, 10],
            "cost": [10, 20, 10, 20],
            "auc": [0.8, 0.9, 0.6, 0.7],
            "auc_low": [0.7, 0.8, 0.5, 0.6],
            "auc_high": [0.9, 1.0, 0.7, 0.8],
        }
    )
    [series] = collect_signals(frame, "auc")
    assert series.points["score"].tolist() == pytest.approx([0.7, 0.8])
    assert series.points["low"].tolist() == pytest.approx([0.6, 0.7])
    assert list(signal_against_cost(frame, "auc", "AUC").data[0].x) == [10, 20]


def test_curves_average_over_networks_and_leave_infinities_out() -> None:
    frame = pd.DataFrame(
        {
            "params_activation": ["relu"] * 5,
            "params_lr": [0.1, 0.1, 0.1, 1.0, 1.0],
            "exponent": [0.1, 0.3, np.inf, 0.5, 0.5],
        }
    )
    [curve] = collect_curves(frame)
    assert curve.rates.tolist() == [0.1, 1.0]
    assert curve.mean.tolist() == pytest.approx([0.2, 0.5])
    assert curve.high[0] - curve.mean[0] == pytest.approx(1.96 * 0.1)
    assert len(exponent_curves(frame).data) == 2


def test_a_map_has_a_place_for_every_setting_and_leaves_others_empty() -> None:
    frame = pd.DataFrame(
        {
            "width": [2, 2, 8],
            "lr": [0.1, 1.0, 0.1],
            "verdict": ["holds", "fails", "open"],
            "estimate": [0.5, -0.5, 0.0],
            "low": [0.4, -0.6, -0.1],
            "high": [0.6, -0.4, 0.1],
            "seeds": [32, 32, 32],
        }
    )
    found = collect_claims(frame, ["width"], ["lr"])
    assert found.values == [[1, -1], [0, None]]
    assert found.columns == ["lr 0.1", "lr 1"]
    assert "0.5 [0.4, 0.6], 32" in found.texts[0][0]
    assert claim_map(frame, ["width"], ["lr"]).data[0].type == "heatmap"


def test_a_number_table_shows_three_digits_and_leaves_holes_empty() -> None:
    figure = number_table(pd.DataFrame({"a": [0.123456, np.nan], "b": [True, False]}))
    assert list(figure.data[0].cells["values"][0]) == ["0.123", ""]
    assert list(figure.data[0].cells["values"][1]) == ["yes", "no"]
