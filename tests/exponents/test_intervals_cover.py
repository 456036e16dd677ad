"""95 % intervals cover the truth in 90-99 % of runs, and are at most twice as wide as it takes."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.randomness import generator
from lyapopt.dynamics.systems import CatMap, Henon, Logistic, StandardMap
from lyapopt.exponents import from_neighbours, spectrum
from lyapopt.exponents.intervals import mean_interval_over_time
from lyapopt.exponents.student import student_quantile


def test_the_quantiles_of_student_are_those_of_scipy() -> None:
    for freedom in (1, 2, 3, 3.7, 5, 9.375, 30, 39, 40, 100, 999, 10_000):
        for probability in (0.025, 0.2, 0.6, 0.75, 0.9, 0.95, 0.975, 0.9985, 0.9995):
            expected = stdtrit(freedom, probability)
            assert student_quantile(freedom, probability) == pytest.approx(expected, rel=2e-11)


def coverage(values: Tensor, low: Tensor, high: Tensor, truth: float) -> tuple[float, float]:
    """Share of runs that cover the truth, and median width over the width that it takes."""
    share = ((low <= truth) & (truth <= high)).double().mean().item()
    spread = (values - truth).square().mean().sqrt().item()
    return share, ((high - low).median() / (2 * 1.959964 * spread)).item()


def assert_honest(values: Tensor, low: Tensor, high: Tensor, truth: float) -> None:
    share, width = coverage(values, low, high, truth)
    assert 0.90 <= share <= 0.99, (share, width)
    assert width <= 2, (share, width)


@pytest.mark.parametrize("horizon", [300, 1000, 3000])
@pytest.mark.parametrize("r", [3.9, 3.7])
def test_200_runs_of_the_logistic_map(r, horizon):
    step = Logistic(r)
    found = from_neighbours(
        step, step.initial_state(200, seed=1), horizon, neighbours=1, radius=1e-9
    )
    # More runs and steps than are tested fix the truth to a tenth of the spread of a run.
    truth = logistic_exponent(r)
    assert_honest(found.value, *found.interval(), truth)


@pytest.mark.parametrize("horizon", [300, 1000])
def test_200_runs_of_the_henon_map(horizon):
    step = Henon()
    z0 = step.initial_state(200, seed=2)
    found = from_neighbours(step, z0, horizon, neighbours=1, radius=1e-9, burn_in=20)
    assert_honest(found.value, *found.interval(), 0.41922)
    if horizon == 300:
        tangents = spectrum(step, z0, horizon, burn_in=20)
        low, high = tangents.interval()
        assert_honest(tangents.values[:, 1], low[:, 1], high[:, 1], -1.62319)


def least_squares(seed: int, data: tuple[Tensor, Tensor]) -> Training:
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.5)
    sgd = torch.optim.SGD(model.parameters(), lr=0.3)
    return Training(model, oracle.half_mse, sgd, data, batch_size=4, seed=seed)


def test_200_runs_of_sgd_on_least_squares():
    source = torch.Generator().manual_seed(0)
    x = torch.randn(32, 3, dtype=torch.float64, generator=source)
    step = TrainingMap([least_squares(seed, (x, x[:, :1])) for seed in range(200)])
    z0 = step.initial_state()
    found = from_neighbours(step, z0, 400, neighbours=1, burn_in=50)
    truth = products_exponent(x, lr=0.3, batch_size=4)
    assert_honest(found.value, *found.interval(), truth)


@pytest.mark.slow
@pytest.mark.parametrize("horizon", [60, 150, 10_000])
@pytest.mark.parametrize("system", ["logistic", "henon", "standard"])
def test_200_runs_over_other_horizons(system, horizon):
    step = {"logistic": Logistic(3.9), "henon": Henon(), "standard": StandardMap(8.0)}[system]
    z0 = step.initial_state(200, seed=3)
    found = from_neighbours(step, z0, horizon, neighbours=1, radius=1e-9, burn_in=20)
    longer = from_neighbours(
        step, step.initial_state(200, seed=4), 10_000, neighbours=1, radius=1e-9, burn_in=20
    )
    assert_honest(found.value, *found.interval(), longer.value.mean().item())


@pytest.mark.parametrize("horizon", [100, 1000])
def test_increments_that_cancel_give_an_interval_that_shrinks_with_them(horizon):
    # At r = 4 the sum of increments has a bounded variance; independence would be 7-23 times wide.
    step = Logistic(4.0)
    found = from_neighbours(
        step, step.initial_state(200, seed=5), horizon, neighbours=1, radius=1e-9
    )
    share, width = coverage(found.value, *found.interval(), math.log(2))
    assert share >= 0.9
    assert width <= 2.5


def test_constant_increments_give_an_interval_of_no_width():
    step = CatMap()
    found = spectrum(step, step.initial_state(2), 200, burn_in=40)
    low, high = found.interval()
    assert (high - low).max() < 1e-9
    assert (low <= found.values).all()
    assert (found.values <= high).all()


@pytest.mark.parametrize("phi", [-0.9, -0.5, 0.0, 0.5, 0.9])
@pytest.mark.parametrize("segments", [200, 1000])
def test_serial_correlation_of_either_sign_is_allowed_for(phi, segments):
    series = autoregression(phi, segments, 600)
    low, high = mean_interval_over_time(series, torch.ones(segments).double(), 0.95)
    share, width = coverage(series.mean(0), low, high, 0.0)
    assert 0.90 <= share <= 0.99
    assert width <= 1.6


@pytest.mark.parametrize("level", [0.5, 0.8, 0.99])
def test_other_levels_cover_as_often_as_they_say(level):
    series = autoregression(0.3, 500, 2000)
    low, high = mean_interval_over_time(series, torch.ones(500).double(), level)
    share, _ = coverage(series.mean(0), low, high, 0.0)
    assert abs(share - level) < 0.06


def test_intervals_over_neighbours_cover_the_mean_over_directions():
    # Truth: the same with very many directions.
    step = TrainingMap([oracle.quadratic([4.0, 1.0, 0.5, 0.25], lambda p: torch.optim.SGD(p, 0.1))])
    z0 = step.initial_state().expand(1, 1, -1)
    truth = from_neighbours(step, z0, 8, neighbours=20_000, seed=99).value.item()
    found = [from_neighbours(step, z0, 8, neighbours=16, seed=s) for s in range(60)]
    values = torch.cat([e.value for e in found])
    ends = [e.interval(over="neighbours") for e in found]
    low, high = (torch.cat([end[i] for end in ends]) for i in (0, 1))
    share, width = coverage(values, low, high, truth)
    assert 0.85 <= share <= 1.0
    assert width <= 2


def test_intervals_over_replicas_cover_the_mean_over_seeds():
    step = Logistic(3.9)
    groups, replicas = 200, 10
    z0 = step.initial_state(groups * replicas, seed=7)
    found = from_neighbours(step, z0, 30, neighbours=1, radius=1e-9)
    interval = found.interval(over="replicas", replicas=replicas)
    assert interval.low.shape == (groups,)
    means = found.value.view(groups, replicas).mean(1)
    share, width = coverage(means, *interval, found.value.mean().item())
    assert 0.90 <= share <= 0.99
    assert width <= 2
    assert "seeds" in interval.estimand
    tangents = spectrum(step, z0[:20], 30).interval(over="replicas", replicas=10)
    assert tangents.low.shape == (2, 1)


def test_results_print_their_numbers_with_units_and_flags_and_no_more():
    z0 = Henon().initial_state(2)
    for found in (from_neighbours(Henon(), z0, 5), spectrum(Henon(), z0, 5)):
        text = repr(found.in_units(base=2))
        assert "bits per step: finite-time exponent" in text
        assert "flags={'no-interval': 2}" in text
        assert len(text) < 300


def test_an_interval_says_what_it_is_for():
    found = from_neighbours(Henon(), Henon().initial_state(1), 40, neighbours=3)
    interval = found.in_units(base=2).interval(0.9)
    low, high = interval
    assert low < high
    assert (interval.level, interval.over) == (0.9, "time")
    assert (interval.unit, interval.per) == ("bits", "step")
    assert interval.estimand == found.estimand("time")
    assert len({found.estimand(over) for over in ("time", "neighbours", "replicas")}) == 3


@pytest.mark.parametrize("over", ["time", "neighbours", "replicas"])
def test_an_interval_of_isotropic_growth_is_not_one_of_an_exponent(over):
    found = from_neighbours(Henon(), Henon().initial_state(2), 40, neighbours=3, redraw=True)
    assert found.interval(over=over).estimand.startswith("isotropic growth")
    assert "exponent" not in found.estimand(over)


def autoregression(phi: float, length: int, count: int) -> Tensor:
    source = torch.Generator().manual_seed(11)
    noise = torch.randn(length + 200, count, dtype=torch.float64, generator=source)
    x, series = torch.zeros(count, dtype=torch.float64), []
    for row in noise:
        x = phi * x + row
        series.append(x)
    return torch.stack(series[200:])


def logistic_exponent(r: float) -> float:
    """Space average of ln |f'| over 4000 orbits of 3000 steps."""
    x = torch.rand(4000, dtype=torch.float64, generator=generator(0, "truth")) * 0.8 + 0.1
    total = torch.zeros_like(x)
    for t in range(3200):
        if t >= 200:
            total += (r * (1 - 2 * x)).abs().log()
        x = r * x * (1 - x)
    return (total / 3000).mean().item()


def products_exponent(x: Tensor, lr: float, batch_size: int) -> float:
    """Largest exponent of products of `I - lr X_b^T X_b / B` with reshuffled epochs."""
    runs, steps = 1000, len(x) // batch_size
    source = generator(1, "truth")
    v = torch.randn(runs, x.shape[1], dtype=torch.float64, generator=source)
    total = torch.zeros(runs, dtype=torch.float64)
    for epoch in range(210):
        order = torch.rand(runs, len(x), generator=source).argsort(1)
        for i in range(steps):
            batch = x[order[:, i * batch_size : (i + 1) * batch_size]]
            residual = torch.einsum("rbp,rp->rb", batch, v)
            v = v - lr / batch_size * torch.einsum("rbp,rb->rp", batch, residual)
            norm = torch.linalg.vector_norm(v, dim=1)
            v /= norm.unsqueeze(1)
            total += norm.log() * (epoch >= 10)
    return (total / (200 * steps)).mean().item()
