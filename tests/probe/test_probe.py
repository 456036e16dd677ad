"""Measuring trainings over a short horizon."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Probe, Verdict, VerdictRule
from lyapopt.tasks.builder import TaskBuilder


def quadratic(curvature: float, lr: float, **options: object) -> Training:
    """Gradient descent on `curvature / 2 * (w - 1)^2`, one weight."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 3.0)
    x = torch.ones(1, 1, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)

    def loss(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return curvature / 2 * ((outputs - target) ** 2).mean()

    return Training(model, loss, optimizer, (x, x), **options)


@pytest.mark.parametrize("lr", [0.01, 0.3, 0.9, 1.5])
def test_the_exponent_of_a_quadratic_is_exact(lr: float) -> None:
    [measurement] = Probe(horizon=10).measure([quadratic(1.0, lr)])
    assert measurement.exponent == pytest.approx(math.log(abs(1 - lr)), abs=1e-6)


def test_a_step_onto_the_minimum_gives_minus_infinity_with_a_flag_and_no_interval() -> None:
    [measurement] = Probe(horizon=10).measure([quadratic(1.0, 1.0)])
    assert measurement.exponent == -math.inf
    assert "collapsed" in [flag.name for flag in measurement.flags]
    assert measurement.low is None


def test_a_rate_beyond_the_edge_is_hot() -> None:
    [measurement] = Probe(horizon=5).measure([quadratic(1.0, 2.5)])
    assert measurement.verdict == Verdict.HOT


def test_an_exploding_training_is_diverged() -> None:
    [measurement] = Probe(horizon=20).measure([quadratic(1.0, 50.0)])
    assert measurement.verdict == Verdict.DIVERGED


def test_a_rate_of_zero_is_dead() -> None:
    [measurement] = Probe(horizon=20).measure([quadratic(1.0, 0.0)])
    assert measurement.verdict == Verdict.DEAD
    assert measurement.exponent == pytest.approx(0.0, abs=1e-9)


def test_a_dead_relu_network_is_dead() -> None:
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False)).double()
    nn.init.constant_(model[0].bias, -100.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.eye(2, dtype=torch.float64)
    [measurement] = Probe().measure([Training(model, nn.MSELoss(), optimizer, (x, x[:, :1]))])
    assert measurement.verdict == Verdict.DEAD


@pytest.mark.parametrize("seed", [2, 5, 6, 7])
def test_a_network_that_dies_on_its_way_is_dead(seed: int) -> None:
    torch.manual_seed(seed)
    layers = [nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 3)]
    model = nn.Sequential(*layers).double()
    x, y = torch.randn(60, 8).double(), torch.arange(60) % 3
    optimizer = torch.optim.SGD(model.parameters(), lr=10.0)
    training = Training(model, nn.CrossEntropyLoss(), optimizer, (x, y))
    [measurement] = Probe(horizon=40).measure([training])
    died = measurement.losses[-5:].max() - measurement.losses[-5:].min() < 1e-12
    assert (measurement.verdict == Verdict.DEAD) == died


def test_a_training_that_has_converged_is_not_dead() -> None:
    [measurement] = Probe(horizon=40).measure([quadratic(1.0, 0.7)])
    assert measurement.losses[-1] < 1e-30
    assert measurement.verdict == Verdict.CONTRACTING


def test_a_loss_that_falls_below_zero_is_no_divergence() -> None:
    falling = np.linspace(1e-3, -5.0, 20)
    verdict = VerdictRule().judge(0.01, None, None, falling, is_finite=True, stands_still=False)
    assert verdict == Verdict.EDGE


def test_one_easy_first_batch_is_no_divergence() -> None:
    losses = np.array([1e-6, 0.03, 0.02, 0.03, 0.02, 0.02, 0.01, 0.01])
    verdict = VerdictRule().judge(0.01, None, None, losses, is_finite=True, stands_still=False)
    assert verdict == Verdict.EDGE


def test_an_exponent_that_is_not_a_number_is_a_divergence() -> None:
    verdict = VerdictRule().judge(
        math.nan, None, None, np.ones(8), is_finite=True, stands_still=False
    )
    assert verdict == Verdict.DIVERGED


def test_a_slow_training_is_neutral_and_slow() -> None:
    [measurement] = Probe(horizon=20).measure([quadratic(1.0, 1e-5)])
    assert measurement.verdict == Verdict.NEUTRAL
    assert measurement.slow
    assert measurement.loss_fall == pytest.approx(1 - (1 - 1e-5) ** (2 * 14.5), rel=1e-3)


def test_mixed_structures_come_back_in_their_order() -> None:
    build = TaskBuilder("xor", {})
    widths = [3, 8, 3, 5, 8]
    trainings = [build({"hidden": width, "lr": 0.1, "init_seed": width}) for width in widths]
    together = Probe(horizon=6).measure(trainings)
    for training, measurement in zip(trainings, together, strict=True):
        [alone] = Probe(horizon=6).measure([training])
        assert alone.exponent == pytest.approx(measurement.exponent, rel=1e-6, abs=1e-10)


def test_measuring_trains_nothing_in_place() -> None:
    training = TaskBuilder("xor", {})({"lr": 0.5, "init_seed": 1})
    before = [parameter.clone() for parameter in training.model.parameters()]
    Probe(horizon=5).measure([training])
    for parameter, kept in zip(training.model.parameters(), before, strict=True):
        assert torch.equal(parameter, kept)


def test_the_cost_counts_every_neighbour() -> None:
    training = TaskBuilder("digits", {"batch_size": 32})({"lr": 0.1, "init_seed": 1})
    [measurement] = Probe(horizon=7, neighbours=3).measure([training])
    assert measurement.gradient_evaluations == 4 * 7
    assert measurement.examples == 4 * 7 * 32
    assert measurement.losses.shape == (7,)
    assert measurement.log_separations.shape == (8, 3)


def test_one_neighbour_over_five_steps_has_no_interval_and_says_so() -> None:
    training = TaskBuilder("xor", {})({"lr": 0.1, "init_seed": 1})
    [measurement] = Probe(horizon=5).measure([training])
    assert measurement.low is None
    assert measurement.high is None
    assert "no-interval" in [flag.name for flag in measurement.flags]


@pytest.mark.parametrize(
    "options",
    [{"horizon": 0}, {"neighbours": 0}, {"horizon": 2.5}, {"level": 1.0}, {"distance": "cosine"}],
)
def test_settings_out_of_range_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(UserError):
        Probe(**options)


def test_losses_that_rise_a_thousandfold_are_a_divergence() -> None:
    verdict = VerdictRule().judge(
        0.1,
        None,
        None,
        np.array([1.0, 2.0, 2000.0]),
        is_finite=True,
        stands_still=False,
    )
    assert verdict == Verdict.DIVERGED
