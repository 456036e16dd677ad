"""Textbook systems: literature values within three standard errors, exact ones to 1e-9."""

from __future__ import annotations

import math

import pytest
import torch

from lyapopt.dynamics.systems import (
    CatMap,
    Henon,
    Ikeda,
    LinearMap,
    Logistic,
    Lorenz,
    Lozi,
    RandomMatrices,
    Rossler,
    StandardMap,
    Tent,
    TextbookSystem,
)
from lyapopt.exponents import Spectrum, from_neighbours, spectrum


def assert_within_three_errors(
    found: Spectrum, literature: tuple[float, ...], digits: float
) -> None:
    """Rows are runs from different states; `digits` is the rounding of the literature value."""
    runs = len(found.values)
    error = found.values.std(0) / runs**0.5
    away = (found.values.mean(0) - torch.tensor(literature, dtype=torch.float64)).abs()
    assert (away <= 3 * error + digits).all(), (away, error)


def measured(step: TextbookSystem, systems: int, horizon: int, **options) -> Spectrum:
    return spectrum(step, step.initial_state(systems), horizon, burn_in=50, **options)


@pytest.mark.parametrize(
    "step",
    [Logistic(), Henon(), Lozi(), Ikeda(), RandomMatrices(3), RandomMatrices(5, 2.0, 1)],
    ids=["logistic", "henon", "lozi", "ikeda", "matrices-3", "matrices-5"],
)
def test_maps_agree_with_the_literature_at_1e5_steps(step):
    found = measured(step, 250, 400)
    assert_within_three_errors(found, step.exponents, 1e-5)


@pytest.mark.parametrize(
    ("step", "total"),
    [
        (Henon(), math.log(0.3)),
        (Henon(1.2, 0.25), math.log(0.25)),
        (Lozi(), math.log(0.5)),
        (Ikeda(0.8), 2 * math.log(0.8)),
        (StandardMap(2.0), 0.0),
        (CatMap(), 0.0),
    ],
    ids=["henon", "henon-1.2", "lozi", "ikeda", "standard", "cat"],
)
def test_sums_are_exact_from_the_first_step(step, total):
    found = spectrum(step, step.initial_state(4), 100)
    assert (found.sum - total).abs().max() < 1e-12


def test_the_tent_map_is_exact():
    step = Tent(1.7)
    found = from_neighbours(step, step.initial_state(3), 300, neighbours=1, radius=1e-10)
    assert (spectrum(step, step.initial_state(3), 100).value - math.log(1.7)).abs().max() < 1e-9
    # A neighbour now and then lies on the other side of the corner.
    assert (found.value - math.log(1.7)).abs().max() < 1e-5


@pytest.mark.parametrize("seed", range(4))
def test_linear_maps_have_the_logarithms_of_their_eigenvalues(seed):
    source = torch.Generator().manual_seed(seed)
    basis = torch.randn(4, 4, dtype=torch.float64, generator=source)
    moduli = torch.tensor([1.8, 1.1, -0.6, 0.2], dtype=torch.float64)
    step = LinearMap(basis @ torch.diag(moduli) @ torch.linalg.inv(basis))
    found = spectrum(step, torch.zeros(1, 1, 4).double(), 50, burn_in=120)
    torch.testing.assert_close(found.values[0], moduli.abs().log(), rtol=0, atol=1e-9)
    one = from_neighbours(step, torch.zeros(1, 1, 4).double(), 50, burn_in=120, neighbours=2)
    assert abs(one.value.item() - math.log(1.8)) < 1e-9
    # Contraction of 0.2 against 1.8 loses one digit a step and no more.
    rare = spectrum(step, torch.zeros(1, 1, 4).double(), 48, burn_in=120, qr_every=4)
    torch.testing.assert_close(rare.values, found.values, rtol=0, atol=1e-9)


def test_the_two_estimators_agree_on_the_same_orbit():
    step = Henon()
    z0 = step.initial_state(5)
    tangents = spectrum(step, z0, 200, k=1, burn_in=30)
    found = from_neighbours(step, z0, 200, neighbours=1, radius=1e-9, burn_in=30)
    torch.testing.assert_close(found.value, tangents.value, rtol=0, atol=1e-6)


def test_henon_has_its_kaplan_yorke_dimension():
    step = Henon()
    found = measured(step, 100, 300)
    assert abs(found.kaplan_yorke_dimension().mean().item() - 1.2583) < 0.005
    chaotic = found.entropy_rate.mean().item()
    assert abs(chaotic - 0.41922) < 0.01


def test_conservative_maps_have_the_dimension_of_their_space():
    step = StandardMap(2.0)
    found = spectrum(step, step.initial_state(5), 50)
    torch.testing.assert_close(
        found.kaplan_yorke_dimension(), torch.full((5,), 2.0).double(), rtol=0, atol=1e-9
    )


@pytest.mark.slow
def test_lorenz_in_short():
    step = Lorenz()
    found = spectrum(step, step.initial_state(100), 400, burn_in=100, qr_every=5)
    scaled = found.in_units(per="time", dt=step.dt)
    assert (scaled.sum + 13.0 + 2 / 3).abs().max() < 1e-3  # of the flow, up to the step size
    error = 3 * scaled.values.std(0) / 10
    away = (scaled.values.mean(0) - torch.tensor([0.9056, 0.0, -14.5723]).double()).abs()
    assert (away <= error + 2e-3).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    "step", [Logistic(), Henon(), Lozi(), Ikeda()], ids=["logistic", "henon", "lozi", "ikeda"]
)
def test_maps_agree_with_the_literature_at_1e6_steps(step):
    assert_within_three_errors(measured(step, 1000, 1000), step.exponents, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("step", "burn_in", "period"),
    [(Lorenz(), 500, 0.75), (Rossler(dt=0.02), 1500, 5.88)],
    ids=["lorenz", "rossler"],
)
def test_flows_agree_with_the_literature_at_1e6_steps(step, burn_in, period):
    # Orbits of Rossler keep their phase; over a few turns all would be off in the same way.
    z0 = spread_over_a_turn(step, 400, round(period / step.dt))
    found = spectrum(step, z0, 2500, burn_in=burn_in, qr_every=5)
    assert_within_three_errors(found, step.exponents, 1e-4 * step.dt)


def spread_over_a_turn(step: TextbookSystem, systems: int, steps: int) -> torch.Tensor:
    z = z0 = step.initial_state(systems)
    begins = torch.arange(systems) * steps // systems
    for t in range(steps):
        z0 = torch.where((begins == t).view(-1, 1, 1), z, z0)
        z = step(z, t)
    return z0
