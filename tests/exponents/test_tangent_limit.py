"""Independent tangents measure what neighbours do, without a radius."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

import lyapopt
from lyapopt.dynamics import Training, TrainingMap, systems
from lyapopt.errors import UserError
from lyapopt.exponents import from_neighbours, from_tangents, spectrum
from lyapopt.probe import Probe, Verdict

OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.3),
    "heavy ball": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=1e-3),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
    "rmsprop": lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
}


def training(optimizer: str = "sgd", lr: float | None = None, seed: int = 0) -> Training:
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 3, generator=draw, dtype=torch.float64)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Linear(3, 6), nn.Tanh(), nn.Linear(6, 1)).double()
    made = OPTIMIZERS[optimizer](model.parameters())
    if lr is not None:
        made.param_groups[0]["lr"] = lr
    y = x.prod(1, keepdim=True)
    return Training(model, nn.MSELoss(), made, (x, y), batch_size=8, steps=100, seed=seed)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("segment", [1, 4])
def test_tangents_are_the_limit_of_neighbours(optimizer: str, segment: int) -> None:
    step = TrainingMap([training(optimizer, seed=seed) for seed in range(3)])
    z0 = step.initial_state()
    options = {"segment": segment, "burn_in": 3, "seed": 7}
    close = from_neighbours(step, z0, 12, neighbours=4, radius=1e-7, **options)
    limit = from_tangents(step, z0, 12, tangents=4, **options)
    torch.testing.assert_close(limit.increments, close.increments, rtol=1e-5, atol=2e-6)
    torch.testing.assert_close(
        limit.values_per_neighbour, close.values_per_neighbour, rtol=0, atol=2e-6
    )
    torch.testing.assert_close(limit.final_state, close.final_state, rtol=0, atol=0)
    assert limit.losses is not None
    assert close.losses is not None
    torch.testing.assert_close(limit.losses[..., :1], close.losses[..., :1], rtol=1e-12, atol=0)
    assert limit.gradient_evaluations == (1 + 2 * 4) * 15 + 7  # with the check of the derivative


def test_one_tangent_is_the_leading_one_of_the_spectrum_in_the_long_run() -> None:
    henon = systems.Henon()
    z0 = torch.zeros(4, 1, 2, dtype=torch.float64) + 0.01 * torch.arange(4).view(4, 1, 1)
    single = from_tangents(henon, z0, 2000, burn_in=100)
    whole = spectrum(henon, z0, 2000, burn_in=100, k=1)
    torch.testing.assert_close(single.value, whole.values[:, 0], rtol=0, atol=2e-3)
    assert single.value.mean().item() == pytest.approx(0.41922, abs=0.02)


def test_float32_needs_no_radius_that_it_can_resolve() -> None:
    double = training(lr=0.3)
    single = training(lr=0.3)
    single = Training(
        single.model.float(),
        single.loss_fn,
        torch.optim.SGD(single.model.parameters(), lr=0.3),
        tuple(part.float() for part in single.data),
        batch_size=8,
        steps=100,
    )
    probe = Probe(horizon=20, estimator="tangent")
    exact, rounded = (probe.measure([t])[0].exponent for t in (double, single))
    assert rounded == pytest.approx(exact, abs=1e-5)


def test_probes_by_tangents_find_hot_dead_and_diverged_trainings() -> None:
    torch.manual_seed(0)
    dead = nn.Sequential(nn.Linear(3, 1), nn.ReLU()).double()
    with torch.no_grad():
        dead[0].bias.fill_(-100.0)
    x = torch.randn(8, 3, dtype=torch.float64)
    still = Training(
        dead,
        nn.MSELoss(),
        torch.optim.SGD(dead.parameters(), lr=0.1),
        (x, torch.zeros(8, 1).double()),
    )
    probe = Probe(horizon=20, neighbours=4, estimator="tangent")
    verdicts = [m.verdict for m in probe.measure([training(lr=0.05), training(lr=60.0), still])]
    assert verdicts[0] in (Verdict.EDGE, Verdict.NEUTRAL, Verdict.CONTRACTING)
    assert verdicts[1] in (Verdict.DIVERGED, Verdict.HOT)
    assert verdicts[2] == Verdict.DEAD


def test_a_growth_that_is_exactly_zero_is_flagged_and_never_a_bare_nan() -> None:
    halt = from_tangents(lambda z, t: 0 * z, torch.ones(1, 1, 2, dtype=torch.float64), 5)
    assert halt.value.item() == -math.inf
    assert "collapsed" in [flag.name for flag in halt.flags[0]]
    burst = from_tangents(lambda z, t: z * 1e200, torch.ones(1, 1, 2, dtype=torch.float64), 5)
    assert "diverged" in [flag.name for flag in burst.flags[0]]


def test_tangents_in_the_outputs_are_refused() -> None:
    with pytest.raises(UserError, match="weights only"):
        lyapopt.Probe(estimator="tangent", distance="outputs")
