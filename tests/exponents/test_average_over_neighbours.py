"""What is averaged over neighbours: the logarithms, or as in the paper the separations."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from torch import Tensor

from lyapopt.dynamics import TrainingMap
from lyapopt.dynamics.systems import LinearMap
from lyapopt.exponents import from_neighbours, from_tangents

SGD = torch.optim.SGD


def heavy_ball(momentum: float) -> tuple[TrainingMap, Tensor, float]:
    """Below critical damping all modes have the modulus `sqrt(momentum)`: nothing aligns."""
    training = oracle.quadratic(
        [3.1, 2.0, 1.2, 0.7, 0.4], lambda p: SGD(p, lr=0.3, momentum=momentum)
    )
    step = TrainingMap([training])
    return step, step.initial_state(), 0.5 * math.log(momentum)


@pytest.mark.parametrize(("momentum", "error"), [(0.9, 0.004), (0.99, 0.002)])
def test_neighbours_that_do_not_align_give_the_exponent_of_the_heavy_ball(momentum, error):
    step, z0, truth = heavy_ball(momentum)
    found = from_neighbours(step, z0, 400)
    assert found.value.item() == pytest.approx(truth, abs=error)
    low, high = found.interval(over="time")
    assert low.item() < truth < high.item()
    assert found.has_flag("unaligned") == [True]


def test_the_log_of_the_mean_drifts_upwards_where_neighbours_do_not_align():
    step, z0, truth = heavy_ball(0.9)
    found = from_neighbours(step, z0, 400, average="paper")
    assert found.value.item() > truth + 0.02
    assert found.average == "paper"
    [flag] = [flag for flag in found.flags[0] if flag.name == "unaligned"]
    assert "upwards" in flag.detail


@pytest.mark.parametrize("momentum", [0.05, 0.9])
def test_one_neighbour_has_one_value_whatever_is_averaged(momentum):
    step, z0, _ = heavy_ball(momentum)
    logs = from_neighbours(step, z0, 60, neighbours=1)
    paper = from_neighbours(step, z0, 60, neighbours=1, average="paper")
    assert torch.equal(logs.value, paper.value)
    assert torch.equal(logs.increments, paper.increments)


def test_aligned_neighbours_agree_in_both_averages_and_are_not_flagged():
    step = LinearMap(torch.diag(torch.tensor([1.2, 0.5, 0.3], dtype=torch.float64)))
    z0 = torch.zeros(1, 1, 3, dtype=torch.float64)
    for average in ("logs", "paper"):
        found = from_neighbours(step, z0, 30, neighbours=5, burn_in=60, average=average)
        assert found.value.item() == pytest.approx(math.log(1.2), abs=1e-12)
        assert found.has_flag("unaligned") == [False]


def test_the_interval_over_neighbours_is_that_of_their_own_rates():
    step, z0, _ = heavy_ball(0.9)
    found = from_neighbours(step, z0, 50, neighbours=6, segment=3)
    rates = found.values_per_neighbour[0]
    assert found.value.item() == pytest.approx(rates.mean().item(), abs=1e-12)
    low, high = found.interval(0.95, over="neighbours")
    half = 2.570581835636314 * rates.std().item() / math.sqrt(6)  # Student's t, 5 degrees
    assert low.item() == pytest.approx(found.value.item() - half, abs=1e-12)
    assert high.item() == pytest.approx(found.value.item() + half, abs=1e-12)


def test_tangents_average_as_neighbours_do():
    step, z0, truth = heavy_ball(0.9)
    found = from_tangents(step, z0, 200, tangents=8)
    assert found.value.item() == pytest.approx(truth, abs=0.008)
    assert from_tangents(step, z0, 200, tangents=8, average="paper").value.item() > truth + 0.02


def test_a_neighbour_that_met_its_reference_is_left_out_and_flagged():
    def half_plane(z: Tensor, t: int) -> Tensor:
        return z.clamp(min=0.0) * 1.5

    z0 = torch.zeros(1, 1, 1, dtype=torch.float64)  # on the corner: one side is annihilated
    found = from_neighbours(half_plane, z0, 25, neighbours=8)
    assert found.value.item() == pytest.approx(math.log(1.5), abs=1e-12)
    assert "met their reference" in " ".join(flag.detail for flag in found.flags[0])
