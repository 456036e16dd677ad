"""Mistakes that others made in this estimator, and that the results here would show."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import torch
from torch import Tensor

from lyapopt.dynamics import TrainingMap
from lyapopt.exponents import from_neighbours, spectrum

SGD = torch.optim.SGD


def test_growth_is_relative_to_the_separation_at_the_start():
    # The mean of ln D without D(0) would move with the radius: by ln 100 here.
    step = TrainingMap([oracle.quadratic([2.0, 1.0], lambda p: SGD(p, lr=0.1))])
    values = [
        from_neighbours(step, step.initial_state(), 20, neighbours=3, radius=r).value
        for r in (1e-4, 1e-6)
    ]
    torch.testing.assert_close(values[0], values[1], rtol=0, atol=1e-7)


def test_neighbours_see_the_batches_of_their_reference():
    # With shuffles of their own, mini-batch noise would look like growth (and swamp the radius).
    step = TrainingMap(
        [oracle.mlp((3, 4, 1), lambda p: SGD(p, lr=0.05), batch_size=4, examples=32)]
    )
    found = from_neighbours(step, step.initial_state(), 40, neighbours=4)
    assert (found.log_separations - math.log(1e-6)).abs().max() < 10
    assert abs(found.value.item()) < 0.1


def test_all_neighbours_count_not_the_last_alone():
    step = TrainingMap([oracle.quadratic([4.0, 0.1], lambda p: SGD(p, lr=0.2))])
    found = from_neighbours(step, step.initial_state(), 1, neighbours=6, average="paper")
    separations = found.log_separations[:, 0].exp()
    mean = (separations[1].mean() / separations[0].mean()).log()
    torch.testing.assert_close(found.value[0], mean, rtol=0, atol=1e-12)
    assert (found.values_per_neighbour[0] - found.value[0]).abs().max() > 1e-3
    logs = from_neighbours(step, step.initial_state(), 1, neighbours=6)
    mean_log = (separations[1] / separations[0]).log().mean()
    torch.testing.assert_close(logs.value[0], mean_log, rtol=0, atol=1e-12)


def test_the_optimiser_keeps_its_memory_over_epochs():
    # Rebuilding it every epoch empties the momentum; the sum rule would be broken.
    step = TrainingMap(
        [oracle.mlp((2, 3, 1), lambda p: SGD(p, lr=0.1, momentum=0.9), batch_size=6)]
    )
    z0 = step.initial_state()
    P = step.weights(z0).shape[-1]
    found = spectrum(step, z0, 5 * step.steps_per_epoch)
    torch.testing.assert_close(found.sum.item(), P * math.log(0.9), rtol=1e-12, atol=0)


def test_all_directions_of_weight_space_are_measured():
    # A basis fitted on the motion would miss the direction in which nothing moves yet.
    def saddle(z: Tensor, t: int) -> Tensor:
        return z * torch.tensor([0.9, 1.4], dtype=z.dtype)

    z0 = torch.tensor([[[1.0, 0.0]]], dtype=torch.float64)
    found = from_neighbours(saddle, z0, 60, neighbours=4, burn_in=60)
    assert abs(found.value.item() - math.log(1.4)) < 1e-9


def test_momentum_is_in_the_neighbours_too():
    # Copying the reference's momentum at each rescaling would give plain descent's exponent.
    options = {"lr": 0.05, "momentum": 0.4}
    step = TrainingMap([oracle.quadratic([1.0], lambda p: SGD(p, **options))])
    found = from_neighbours(step, step.initial_state(), 50, neighbours=2, burn_in=50)
    exact = oracle.moduli(oracle.sgd_matrix(1.0, **options))[0]
    assert abs(found.value.item() - exact) < 1e-6
    assert abs(exact - math.log(1 - 0.05)) > 0.01
