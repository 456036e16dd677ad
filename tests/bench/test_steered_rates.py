"""Steered rates beside the best on a grid and the range test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lyapopt.bench.search.steered_rates import (
    compare_rates,
    final_losses,
    range_test,
    steered_from_the_first_step,
    summary,
)
from lyapopt.dynamics import Training

torch.set_num_threads(1)


def quadratic(rate: float, curvature: float = 10.0) -> Training:
    """Gradient descent on h w^2 / 2, which diverges beyond lr = 2 / h."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    x = torch.full((1, 1), (curvature / 2) ** 0.5, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate)
    return Training(model, nn.MSELoss(), optimizer, (x, 0 * x), steps=20)


def test_both_ways_to_a_rate_stay_below_where_a_quadratic_diverges() -> None:
    assert 1e-3 < range_test(quadratic) < 0.2
    rate, cost = steered_from_the_first_step(quadratic)
    assert 0.2 / 10**0.3 < rate <= 0.2 * 1.01
    assert cost == 21 * 5 * 20


def test_final_losses_are_those_of_whole_trainings() -> None:
    losses = final_losses([quadratic(0.05), quadratic(0.1), quadratic(1e200)])
    assert losses[0] == pytest.approx(5 * 0.5**40)
    assert losses[1] == pytest.approx(0, abs=1e-20)
    assert losses[2] == np.inf


@pytest.mark.slow
def test_the_steered_rate_trains_nearly_as_well_as_the_best_at_three_widths() -> None:
    options: Mapping[str, Any] = {"steps": 300, "optimizer": "sgd", "activation": "tanh"}
    table = compare_rates("digits", [16, 64, 256], dict(options), seeds=1)
    means = summary(table.assign(case="digits"))
    steered = means.xs("steer", level="method")
    best = means.xs("best of a grid", level="method")
    assert (steered["rate"] < 1.5 * best["rate"]).all()
    assert (steered["rate"] > best["rate"] / 10).all()
    assert (steered["loss"] < 2.5).all()
    # A random direction finds the edge too late, and the later the wider the network.
    late = means.xs("steer, from the first step", level="method")["rate"] / steered["rate"]
    assert (late > 1).all()
    assert late[256] >= late[16]
