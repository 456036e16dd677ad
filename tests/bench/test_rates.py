"""Finders of learning rates beside each other, on lines that are trained in full."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from small_case import small_case
from torch import nn

from lyapopt.bench.range_test import step_of_valley
from lyapopt.bench.rates.finders import FINDERS, HIGH, LOW, OURS, Line
from lyapopt.bench.rates.lines import compare_finders, final_losses
from lyapopt.bench.rates.report import RateReport
from lyapopt.dynamics import Training

torch.set_num_threads(1)


def quadratic(rate: float, curvature: float = 10.0) -> Training:
    """Gradient descent on h w^2 / 2, which diverges beyond lr = 2 / h."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    x = torch.full((1, 1), (curvature / 2) ** 0.5, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return Training(model, nn.MSELoss(), optimizer, (x, 0 * x), steps=400)


def test_every_finder_stays_in_its_range_and_says_what_it_cost() -> None:
    line = Line(quadratic, (0.01, 0.1), steps=400)
    found = {name: find(line) for name, find in FINDERS.items()}
    assert all(LOW <= rate <= HIGH for rate, _ in found.values())
    assert 0.1 < found[OURS][0] < 0.2
    costs = {name: cost for name, (_, cost) in found.items()}
    assert costs[OURS] <= 100
    assert costs["range test, valley"] == costs["range test, steepest"] == 100
    assert costs["best of 8 after 8 steps"] == 64


def test_the_valley_lies_two_thirds_down_the_longest_fall() -> None:
    falling = np.concatenate([np.full(20, 1.0), np.linspace(1.0, 0.1, 30), np.linspace(0.2, 9, 10)])
    assert 25 < step_of_valley(falling) < 50
    assert step_of_valley(np.full(5, np.nan)) == 0


def test_final_losses_are_those_of_whole_trainings() -> None:
    untrained, losses = final_losses([quadratic(0.05), quadratic(0.1), quadratic(1e200)], 20)
    assert untrained == pytest.approx(5)
    assert losses[0] == pytest.approx(5 * 0.5**40)
    assert losses[1] == pytest.approx(0, abs=1e-20)
    assert losses[2] == np.inf


def test_regret_is_a_place_between_the_best_of_the_grid_and_an_untrained_network() -> None:
    rows = compare_finders([small_case()], seeds=1)
    assert len(rows) == 2 * len(FINDERS)
    assert (rows["regret"] <= 1).all()
    assert (rows["cost"][rows["method"] == OURS] <= 48 / 4).all()
    summary = RateReport(rows).summary.set_index("method")
    assert summary.loc[OURS, "lines"] == 2
    assert summary.loc[OURS, ["ours lower", "ours higher"]].tolist() == [0, 0]


def test_pairs_are_counted_line_by_line() -> None:
    lines = [("a", 0.1, 0.2), ("b", 0.1, 0.05), ("c", 0.0, 0.4)]
    rows = pd.DataFrame(
        [
            {"case": "x", "line": line, "method": method, "regret": regret, "cost": 1.0}
            for line, *both in lines
            for method, regret in zip((OURS, "other"), both, strict=True)
        ]
    )
    other = RateReport(rows).summary.set_index("method").loc["other"]
    assert (other["ours lower"], other["ours higher"]) == (2, 1)
    assert other["median regret"] == 0.2
