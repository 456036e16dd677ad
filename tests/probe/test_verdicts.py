"""What a measurement says of a system: limits, the fall of the loss, and standing still."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lyapopt.dynamics import Training
from lyapopt.probe import Measurement, Probe, Verdict, VerdictRule
from lyapopt.probe.settled import settled_exponent, settled_of
from lyapopt.probe.verdicts import relative_fall
from lyapopt.search import watch

FALLING = np.linspace(1.0, 0.5, 20)
EXPONENTS = st.floats(-1, 1)
LOSSES = st.lists(st.floats(-1e3, 1e3), min_size=4, max_size=40).map(np.array)


def judged(
    exponent: float, low: float | None = None, high: float | None = None, **limits: float
) -> Verdict:
    return VerdictRule(**limits).judge(
        exponent, low, high, FALLING, is_finite=True, stands_still=False
    )


@pytest.mark.parametrize(
    ("exponent", "verdict"),
    [
        (0.1001, "hot"),
        (0.1, "edge"),
        (0.0011, "edge"),
        (0.001, "neutral"),
        (-0.001, "neutral"),
        (-0.0011, "contracting"),
        (-math.inf, "contracting"),
        (math.nan, "diverged"),
    ],
)
def test_without_an_interval_the_resolution_decides(exponent: float, verdict: str) -> None:
    assert judged(exponent) == verdict


@pytest.mark.parametrize(
    ("ends", "verdict"),
    [((0.01, 0.05), "edge"), ((-0.01, 0.05), "neutral"), ((-0.05, -0.01), "contracting")],
)
def test_an_interval_decides_where_there_is_one(ends: tuple[float, float], verdict: str) -> None:
    assert judged(sum(ends) / 2, *ends) == verdict


def test_a_wide_interval_saves_no_hot_system() -> None:
    assert judged(0.574, -0.19, 1.33) == Verdict.HOT


_ORDER = [Verdict.CONTRACTING, Verdict.NEUTRAL, Verdict.EDGE, Verdict.HOT]


@given(EXPONENTS, EXPONENTS, st.floats(1e-6, 0.5), st.floats(0, 0.5))
def test_verdicts_are_ordered_as_exponents_are(
    one: float, other: float, hot: float, resolution: float
) -> None:
    low, high = sorted((one, other))
    limits = {"hot": hot, "resolution": min(resolution, hot)}
    assert _ORDER.index(judged(low, **limits)) <= _ORDER.index(judged(high, **limits))


@given(EXPONENTS, st.floats(1e-6, 0.5), st.floats(1e-6, 0.5))
def test_a_higher_limit_calls_fewer_systems_hot(exponent: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    if judged(exponent, hot=high) == Verdict.HOT:
        assert judged(exponent, hot=low) == Verdict.HOT


@given(LOSSES, st.floats(1e-3, 1e3))
def test_the_fall_does_not_depend_on_the_size_of_the_loss(
    losses: np.ndarray, factor: float
) -> None:
    if abs(losses[0]) > 1e-6:
        assert relative_fall(losses * factor) == pytest.approx(
            relative_fall(losses), rel=1e-9, abs=1e-9
        )


@given(LOSSES, st.floats(0, 1), st.floats(0, 1))
def test_a_higher_share_calls_more_losses_slow(
    losses: np.ndarray, one: float, other: float
) -> None:
    low, high = sorted((one, other))
    fall = relative_fall(losses)
    if VerdictRule(slow=low).is_slow(fall):
        assert VerdictRule(slow=high).is_slow(fall)


@pytest.mark.parametrize(
    ("losses", "fall"),
    [
        ([2.0, 1.9, 1.5, 1.3], 0.3),
        ([-1.0, -1.0, -1.5, -1.5], 0.5),
        ([-1.0, -1.0, -0.5, -0.5], -0.5),
        ([0.5, 0.4, -0.5, -0.5], 2.0),
        ([0.0, 0.0, 0.0, 0.0], 0.0),
        ([1.0], math.nan),
        ([1.0, math.inf], math.nan),
    ],
)
def test_the_fall_is_a_share_of_the_first_loss(losses: list[float], fall: float) -> None:
    assert relative_fall(np.array(losses)) == pytest.approx(fall, nan_ok=True)


def linear_network(weight_decay: float, optimizer: type = torch.optim.SGD) -> Training:
    """A dead ReLU network whose weights nothing but weight decay moves, on mini-batches."""
    model = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 1, bias=False)).double()
    nn.init.constant_(model[0].bias, -100.0)
    made = optimizer(model.parameters(), lr=0.05, weight_decay=weight_decay)
    x = torch.arange(32, dtype=torch.float64).view(16, 2) / 32
    return Training(model, nn.MSELoss(), made, (x, x[:, :1]), batch_size=4)


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("weight_decay", [0.0, 0.1])
def test_a_network_that_weight_decay_alone_moves_is_dead(
    weight_decay: float, optimizer: type
) -> None:
    training = linear_network(weight_decay, optimizer)
    [found] = Probe().measure([training])
    assert found.verdict == Verdict.DEAD
    assert watched(training).verdict == Verdict.DEAD


def watched(training: Training, horizon: int = 20) -> Measurement:
    """What `watch` measures of a training's first steps."""
    x, y = training.data
    monitor = watch(None, training.model, training.optimizer, training.loss_fn, horizon=horizon)
    for t in range(horizon):
        rows = torch.arange(4 * t, 4 * t + 4) % len(x)
        monitor.observe(x[rows], y[rows])
        training.optimizer.zero_grad()
        training.loss_fn(training.model(x[rows]), y[rows]).backward()
        training.optimizer.step()
    assert monitor.measurement is not None
    return monitor.measurement


def test_weight_decay_on_a_living_network_is_no_death() -> None:
    model = nn.Linear(2, 1).double()
    sgd = torch.optim.SGD(model.parameters(), lr=1e-3, weight_decay=0.1)
    x = torch.arange(32, dtype=torch.float64).view(16, 2) / 32
    training = Training(model, nn.MSELoss(), sgd, (x, 1 + x[:, :1]), batch_size=4)
    [found] = Probe().measure([training])
    assert found.verdict != Verdict.DEAD


def test_a_loss_that_has_come_down_to_exactly_zero_is_no_death() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 0.5)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    x = torch.ones(4, 1, dtype=torch.float64)

    def hinge(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (1 - outputs * target).clamp(min=0).mean()

    [found] = Probe().measure([Training(model, hinge, sgd, (x, x))])
    assert found.verdict == Verdict.NEUTRAL


def two_curvatures(lr: float, horizon: int, **settings: object) -> Measurement:
    """Gradient descent on a quadratic: curvatures 1 and 0.001 in 1 and 8 directions."""
    model = nn.Linear(9, 1, bias=False).double()
    sgd = torch.optim.SGD(model.parameters(), lr=lr)
    scale = torch.full((9,), 0.001**0.5, dtype=torch.float64)
    scale[0] = 1.0
    x = torch.diag(scale)

    def loss(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return ((outputs - target) ** 2).sum() / 2

    probe = Probe(horizon=horizon, **settings)
    [found] = probe.measure([Training(model, loss, sgd, (x, x[:, :1]))])
    return found


def test_the_settled_exponent_is_nearer_to_the_truth_than_that_of_the_whole_horizon() -> None:
    truth = math.log(1.2)  # |1 - 2.2 * 1|
    settled = two_curvatures(2.2, 40).exponent
    whole = two_curvatures(2.2, 40, settle=0.0).exponent
    assert abs(settled - truth) < abs(whole - truth) / 5


def test_settle_zero_is_the_exponent_of_the_whole_horizon() -> None:
    found = two_curvatures(2.2, 12, settle=0.0)
    log = found.log_separations[:, 0]
    assert found.exponent == pytest.approx((log[-1] - log[0]) / 12)


def test_the_settled_exponent_is_the_growth_over_the_second_half() -> None:
    found = two_curvatures(2.2, 20)
    log = found.log_separations[:, 0]
    assert found.exponent == pytest.approx((log[20] - log[10]) / 10)


def test_one_neighbour_over_twenty_steps_has_no_interval() -> None:
    found = two_curvatures(2.2, 20)
    assert (found.low, found.high) == (None, None)
    assert found.estimand == "growth rate over steps 11 to 20 of this run, without an interval"


def test_four_neighbours_have_an_interval_over_directions_that_says_so() -> None:
    found = two_curvatures(2.2, 20, neighbours=4)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.exponent <= found.high
    assert found.estimand.endswith("averaged over directions of perturbation")


def test_a_long_horizon_has_an_interval_over_its_settled_steps() -> None:
    found = two_curvatures(2.2, 80)
    assert found.low is not None
    assert found.estimand.startswith("growth rate over steps 41 to 80")


def test_growth_before_a_divergence_counts_where_nothing_else_is_known() -> None:
    log = np.array([[0.0], [0.5], [1.0], [np.inf], [np.nan]])
    assert settled_exponent(log) == pytest.approx(0.5)


def test_a_step_that_rounding_swallowed_is_left_out() -> None:
    log = np.array([[0.0], [0.1], [0.2], [np.nan], [0.5]])
    assert settled_exponent(log) == pytest.approx(0.3)


def test_neighbours_that_all_meet_the_reference_give_minus_infinity() -> None:
    assert settled_of(np.array([[0.0], [-1.0], [-np.inf]])).value == -math.inf


def test_a_loss_that_is_maximised_falls_upwards() -> None:
    model = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(model.weight, 1.0)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1, maximize=True)
    x = torch.ones(4, 1, dtype=torch.float64)
    training = Training(model, lambda outputs, target: outputs.mean(), sgd, (x, x))
    [found] = Probe(horizon=4).measure([training])
    assert found.loss_fall == pytest.approx(0.25)
    assert not found.slow
