"""Symmetries that every estimate must have, whatever the system."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lyapopt.dynamics import TrainingMap
from lyapopt.dynamics.systems import Henon, LinearMap, Logistic
from lyapopt.exponents import from_neighbours, spectrum

SEEDS = st.integers(0, 2**31)
few = settings(max_examples=15, deadline=None)


def random_matrix(seed: int, dim: int = 4) -> Tensor:
    """A matrix with well separated, real eigenvalues."""
    source = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64, generator=source))[0]
    shear = torch.triu(torch.randn(dim, dim, dtype=torch.float64, generator=source), 1) * 0.3
    return (
        basis @ (torch.diag(torch.tensor([1.5, 0.9, 0.5, 0.25][:dim]).double()) + shear) @ basis.T
    )


@settings(max_examples=6, deadline=None)
@given(SEEDS, st.floats(-7, -6), st.floats(0.01, 0.8), st.sampled_from(["weights", "outputs"]))
def test_the_radius_does_not_matter_over_two_decades(seed, exponent, lr, distance):
    training = oracle.mlp(
        (3, 4, 2), lambda p: torch.optim.SGD(p, lr=lr, momentum=0.5), seed=seed, batch_size=8
    )
    step = TrainingMap([training])
    one, other = (
        from_neighbours(
            step, step.initial_state(), 30, neighbours=2, radius=10.0**e, distance=distance
        )
        for e in (exponent, exponent - 2)
    )
    torch.testing.assert_close(one.value, other.value, rtol=0, atol=1e-5)


@few
@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_systems_does_not_matter(seed, order):
    r = torch.tensor([3.6, 3.7, 3.8, 3.9], dtype=torch.float64)
    z0 = torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(seed)).double() * 0.8 + 0.1
    rows = list(order)
    found, permuted = (
        measure(Logistic(r[list(index)]), z0[list(index)])
        for measure in (lambda s, z: from_neighbours(s, z, 50, neighbours=2),)
        for index in (range(4), rows)
    )
    torch.testing.assert_close(found.value[rows], permuted.value, rtol=0, atol=0)
    torch.testing.assert_close(found.select(rows).increments, permuted.increments, rtol=0, atol=0)
    tangents = spectrum(Logistic(r), z0, 20)
    torch.testing.assert_close(
        spectrum(Logistic(r[rows]), z0[rows], 20).values, tangents.values[rows], rtol=0, atol=0
    )


@few
@given(SEEDS, st.permutations(range(4)))
def test_the_order_of_parameters_does_not_matter(seed, order):
    matrix, rows = random_matrix(seed), list(order)
    permuted = matrix[rows][:, rows]
    z0 = torch.zeros(1, 1, 4, dtype=torch.float64)
    one, other = (
        from_neighbours(LinearMap(m), z0, 40, neighbours=2, burn_in=80) for m in (matrix, permuted)
    )
    torch.testing.assert_close(one.value, other.value, rtol=0, atol=1e-9)
    one, other = (spectrum(LinearMap(m), z0, 20, burn_in=80) for m in (matrix, permuted))
    torch.testing.assert_close(one.values, other.values, rtol=0, atol=1e-9)


STACKED = {
    "descent": lambda p, lr: torch.optim.SGD(p, lr),
    "heavy-ball": lambda p, lr: torch.optim.SGD(p, lr, 0.8, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda p, lr: torch.optim.SGD(p, lr, momentum=0.8, nesterov=True),
    "adam": lambda p, lr: torch.optim.Adam(p, lr / 10, weight_decay=0.01),
    "amsgrad": lambda p, lr: torch.optim.Adam(p, lr / 10, amsgrad=True),
    "adamw": lambda p, lr: torch.optim.AdamW(p, lr / 10, (0.8, 0.95), weight_decay=0.1),
    "rmsprop": lambda p, lr: torch.optim.RMSprop(p, lr / 10),
    "rmsprop-centred": lambda p, lr: torch.optim.RMSprop(p, lr / 10, centered=True, momentum=0.5),
}


@pytest.mark.parametrize("optimizer", STACKED)
@settings(max_examples=2, deadline=None)
@given(SEEDS)
def test_a_step_alone_is_the_step_in_a_stack_from_the_same_state(optimizer, seed):
    trainings = [
        oracle.mlp(
            (3, 4, 2),
            lambda p, lr=lr: STACKED[optimizer](p, lr),
            batch_size=6,
            seed=seed % 1000,
            scheduler=lambda t: 1 / (1 + 0.1 * t),
            clip_grad_norm=0.5,
        )
        for lr in (0.05, 0.6)
    ]
    together, alone = TrainingMap(trainings), [TrainingMap([each]) for each in trainings]
    z = together.initial_state().repeat(1, 3, 1)
    P = together.weights(z).shape[-1]
    source = torch.Generator().manual_seed(seed)
    z[:, 1:, :P] += 1e-6 * torch.randn(2, 2, P, dtype=torch.float64, generator=source)
    for t in range(4):
        after, _ = together.step_with_losses(z, t)
        for row, one in enumerate(alone):
            same, _ = one.step_with_losses(z[row : row + 1], t)
            torch.testing.assert_close(same, after[row : row + 1], rtol=0, atol=1e-10)
        z = after
    tangents = spectrum(together, z[:, :1], 1, k=2, start=4).values
    for row, one in enumerate(alone):
        same = spectrum(one, z[row : row + 1, :1], 1, k=2, start=4).values
        torch.testing.assert_close(same, tangents[row : row + 1], rtol=1e-10, atol=1e-10)


@settings(max_examples=4, deadline=None)
@given(SEEDS, st.permutations(range(4)), st.floats(0.05, 0.5))
def test_the_order_of_hidden_units_does_not_matter(seed, order, lr):
    # The same network with its weights in another order, and so its states and directions.
    training = oracle.mlp((2, 4, 1), lambda p: torch.optim.SGD(p, lr, 0.6), seed=seed % 1000)
    permuted = oracle.mlp((2, 4, 1), lambda p: torch.optim.SGD(p, lr, 0.6), seed=seed % 1000)
    first, _, last = permuted.model
    rows = list(order)
    first.weight.data, first.bias.data = first.weight.data[rows], first.bias.data[rows]
    last.weight.data = last.weight.data[:, rows]
    one, other = (
        spectrum(step, step.initial_state(), 15)
        for step in (TrainingMap([training]), TrainingMap([permuted]))
    )
    # With all tangents these two are properties of the product of Jacobians alone.
    torch.testing.assert_close(
        one.finite_time_maximum, other.finite_time_maximum, rtol=1e-9, atol=1e-9
    )
    torch.testing.assert_close(one.sum, other.sum, rtol=1e-11, atol=0)


@settings(max_examples=5, deadline=None)
@given(SEEDS)
def test_one_system_alone_is_the_same_as_in_a_stack(seed):
    # Over three steps, and for neighbours rounding over a radius of 1e-6: the bounds are wider.
    rates = [0.05, 0.2, 0.6]
    trainings = [
        oracle.mlp(
            (3, 4, 2),
            lambda p, lr=lr: torch.optim.SGD(p, lr=lr, momentum=0.8),
            batch_size=6,
            seed=seed % 1000,
        )
        for lr in rates
    ]
    together = TrainingMap(trainings)
    z = together.initial_state()
    found = from_neighbours(together, z, 3, neighbours=2)
    tangents = spectrum(together, z, 3, k=3)
    for row, training in enumerate(trainings):
        alone = TrainingMap([training])
        one = from_neighbours(alone, z[row : row + 1], 3, neighbours=2)
        torch.testing.assert_close(one.value, found.value[row : row + 1], rtol=0, atol=1e-8)
        same = spectrum(alone, z[row : row + 1], 3, k=3)
        torch.testing.assert_close(same.values, tangents.values[row : row + 1], rtol=0, atol=3e-10)


@few
@given(SEEDS)
def test_single_precision_agrees_within_its_resolution(seed):
    matrix = random_matrix(seed)
    z0 = torch.ones(1, 1, 4, dtype=torch.float64) * 1e-2
    double = spectrum(LinearMap(matrix), z0, 30, burn_in=10)
    single = spectrum(LinearMap(matrix.float()), z0.float(), 30, burn_in=10)
    assert single.values.dtype == torch.float64  # logarithms are summed in double precision
    torch.testing.assert_close(single.values, double.values, rtol=0, atol=2e-6)
    coarse = from_neighbours(
        LinearMap(matrix.float()), z0.float(), 10, neighbours=2, radius=1e-1, burn_in=5
    )
    fine = from_neighbours(LinearMap(matrix), z0, 10, neighbours=2, radius=1e-1, burn_in=5)
    scale = 1.5**15 * 2e-2 / 1e-1  # of the state against the radius
    torch.testing.assert_close(coarse.value, fine.value, rtol=0, atol=20 * 1.2e-7 * scale)


@few
@given(st.floats(1.1, 100), st.integers(1, 1000), st.floats(1e-6, 10))
def test_units_scale_every_number(base, steps_per_epoch, dt):
    step = Henon()
    z0 = step.initial_state(2)
    for found in (from_neighbours(step, z0, 30, neighbours=2), spectrum(step, z0, 30)):
        value = found.value
        low, high = found.interval()
        laws = [
            (found.in_units(base), 1 / math.log(base)),
            (found.in_units(per="epoch", steps_per_epoch=steps_per_epoch), steps_per_epoch),
            (found.in_units(per="time", dt=dt), 1 / dt),
            (found.in_units(per="time", dt=torch.tensor([dt, 2 * dt])), None),
        ]
        for converted, factor in laws:
            if factor is None:
                factor = torch.tensor([1 / dt, 0.5 / dt], dtype=torch.float64)
            torch.testing.assert_close(converted.value, value * factor, rtol=1e-6, atol=1e-12)
            if found.increments.dim() == 2:
                torch.testing.assert_close(
                    converted.interval()[1] - converted.interval()[0],
                    (high - low) * factor,
                    rtol=1e-6,
                    atol=1e-12,
                )
                torch.testing.assert_close(
                    converted.mean_log, found.mean_log * factor, rtol=1e-6, atol=1e-12
                )
            back = converted.in_units()
            assert (back.unit, back.per) == ("nats", "step")
            torch.testing.assert_close(back.value, value, rtol=1e-6, atol=1e-12)


@few
@given(SEEDS, st.integers(1, 4))
def test_fewer_tangents_give_the_same_largest_exponents(seed, k):
    step, z0 = LinearMap(random_matrix(seed)), torch.zeros(2, 1, 4, dtype=torch.float64)
    found, some = spectrum(step, z0, 20, burn_in=60), spectrum(step, z0, 20, burn_in=60, k=k)
    torch.testing.assert_close(some.values, found.values[:, :k], rtol=0, atol=1e-9)
    assert (found.values.diff(dim=-1) <= 0).all()
    assert (found.increments.mean(0) - found.values).abs().max() < 1e-12
    chunked = spectrum(step, z0, 20, burn_in=60, chunk=k)
    torch.testing.assert_close(chunked.values, found.values, rtol=0, atol=1e-12)


@few
@given(SEEDS, st.integers(1, 12))
def test_the_finite_time_maximum_is_the_largest_singular_value(seed, horizon):
    source = torch.Generator().manual_seed(seed)
    matrix = torch.randn(4, 4, dtype=torch.float64, generator=source)
    step, z0 = LinearMap(matrix), torch.zeros(1, 1, 4, dtype=torch.float64)
    found = spectrum(step, z0, horizon)
    exact = torch.linalg.matrix_norm(torch.linalg.matrix_power(matrix, horizon), 2).log() / horizon
    torch.testing.assert_close(found.finite_time_maximum[0], exact, rtol=1e-9, atol=1e-9)
    one = spectrum(step, z0, horizon, k=2)
    assert one.finite_time_maximum.item() <= exact.item() + 1e-9
    assert found.value.item() <= exact.item() + 1e-9
