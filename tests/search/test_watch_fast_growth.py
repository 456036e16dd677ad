"""A watched loop that grows fast, or whose copies do not align, has the exponent of its map."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import lyapopt


def watched(curvatures, make, horizon, neighbours=1):
    """Train `w^T H w / 2` under a monitor."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    model = nn.Linear(len(h), 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 1.0)
    optimizer = make(model.parameters())
    x, y = h.sqrt().diag() * len(h) ** 0.5, h.new_zeros(len(h), 1)

    def loss_fn(outputs, target):
        return 0.5 * (outputs - target).square().mean()

    monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=horizon, neighbours=neighbours)
    for _ in range(horizon):
        monitor.observe(x, y)
        optimizer.zero_grad()
        loss_fn(model(x), y).backward()
        optimizer.step()
    return monitor


@pytest.mark.parametrize("neighbours", [1, 3])
def test_weights_that_outgrow_the_radius_keep_their_rate(neighbours):
    found = watched([5.0, 5.0], lambda p: torch.optim.SGD(p, lr=0.5), 100, neighbours)
    assert found.exponent == pytest.approx(math.log(1.5), abs=1e-6)


def test_copies_that_do_not_align_give_the_exponent_of_the_heavy_ball():
    found = watched(
        [3.1, 2.0, 1.2, 0.7, 0.4], lambda p: torch.optim.SGD(p, lr=0.3, momentum=0.9), 300, 8
    )
    assert found.exponent == pytest.approx(0.5 * math.log(0.9), abs=0.006)


def test_copies_that_all_meet_the_model_have_no_finite_exponent():
    found = watched([1.0] * 4, lambda p: torch.optim.SGD(p, lr=1.0), 10, 2)
    assert found.exponent == -math.inf
