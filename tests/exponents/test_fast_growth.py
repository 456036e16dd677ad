"""Growth so fast that rounding would swallow the separation: right, or left out and flagged."""

from __future__ import annotations

import math
from fractions import Fraction

import exponent_oracle as oracle
import pytest
import torch
from torch import Tensor

from lyapopt.dynamics import TrainingMap
from lyapopt.dynamics.systems import LinearMap
from lyapopt.exponents import from_neighbours, from_tangents, spectrum
from lyapopt.exponents.perturbations import on_sphere

D = torch.float64
SGD = torch.optim.SGD


def exact_growth(matrix: list[list[float]], first: list[float], T: int, weights: int) -> float:
    """Mean log growth over T steps of the first coordinates of a vector, in rational numbers."""

    def log_norm(v: list[Fraction]) -> float:
        square = sum(x * x for x in v[:weights])
        return (math.log(square.numerator) - math.log(square.denominator)) / 2

    A = [[Fraction(a) for a in row] for row in matrix]
    start = [Fraction(x) for x in first]
    end = start
    for _ in range(T):
        end = [sum(a * x for a, x in zip(row, end, strict=True)) for row in A]
    return (log_norm(end) - log_norm(start)) / T


def direction(dim: int) -> list[float]:
    return on_sphere([0], 1, dim, 0)[0, 0].tolist()


def jordan(rate: float, dim: int) -> Tensor:
    return rate * torch.eye(dim, dtype=D) + torch.diag(torch.ones(dim - 1, dtype=D), 1)


def turn(rate: float, angle: float = 1.0) -> Tensor:
    c, s = math.cos(angle), math.sin(angle)
    return rate * torch.tensor([[c, -s], [s, c]], dtype=D)


def flags(found) -> set[str]:
    return {flag.name for flag in found.flags[0]}


@pytest.mark.parametrize("T", [100, 400])
def test_nesterov_above_the_edge_has_its_finite_time_growth(T):
    options = {"lr": 1.4, "momentum": 0.9, "nesterov": True}
    step = TrainingMap([oracle.quadratic([1.0], lambda p: SGD(p, **options))])
    exact = exact_growth(oracle.sgd_matrix(1.0, **options), [1.0, 0.0], T, 1)
    found = from_neighbours(step, step.initial_state(), T, neighbours=1)
    assert found.value.item() == pytest.approx(exact, abs=2e-6)
    assert not flags(found) & {"precision", "collapsed", "diverged"}


@pytest.mark.parametrize("average", ["logs", "paper"])
@pytest.mark.parametrize(("matrix", "T"), [(jordan(1.1, 2), 300), (jordan(1.1, 4), 1000)])
def test_a_jordan_block_has_its_finite_time_growth(matrix, T, average):
    dim = len(matrix)
    exact = exact_growth(matrix.tolist(), direction(dim), T, dim)
    z0 = torch.ones(1, 1, dim, dtype=D)
    found = from_neighbours(LinearMap(matrix), z0, T, neighbours=1, average=average)
    assert found.value.item() == pytest.approx(exact, abs=2e-6)
    tangents = from_tangents(LinearMap(matrix), z0, T)
    assert tangents.value.item() == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"redraw": True},
        {"average": "paper"},
        {"segment": 7},
        {"burn_in": 150},
        {"check_linearity": True},
        {"distance": lambda a, b: (a - b).abs().sum(-1).sqrt().square()},
    ],
    ids=["plain", "redraw", "paper", "segment", "burn-in", "linearity", "function"],
)
def test_a_state_that_outgrows_the_radius_keeps_ln_2(options):
    matrix = torch.block_diag(turn(2.0), turn(2.0, 2.0))
    found = from_neighbours(
        LinearMap(matrix), torch.ones(1, 1, 4, dtype=D), 200, neighbours=3, **options
    )
    # The function measures another norm, which the rotation changes by up to ln 2.
    error = 0.01 if "distance" in options else 1e-6
    assert found.value.item() == pytest.approx(math.log(2), abs=error)
    assert "precision" not in flags(found)
    if "check_linearity" in options:
        assert found.linearity_error.item() < 1e-6


def test_float32_keeps_ln_2_and_says_that_it_rounds():
    z0 = torch.ones(1, 1, 2)
    found = from_neighbours(LinearMap(turn(2.0).float()), z0, 50, neighbours=4, radius=1e-3)
    assert found.value.item() == pytest.approx(math.log(2), abs=1e-3)
    assert "precision" in flags(found)


@pytest.mark.parametrize("K", [1, 4])
@pytest.mark.parametrize(("rate", "jump"), [(1.0, 1e12), (0.5, 1e12), (1.0, 1e30), (1.5, 1e20)])
def test_a_jump_far_out_of_the_radius_is_left_out_and_flagged(rate, jump, K):
    def leap(z: Tensor, t: int) -> Tensor:
        return rate * z + jump

    z0 = torch.ones(1, 1, 3, dtype=D)
    found = from_neighbours(leap, z0, 40, neighbours=K)
    assert found.value.item() == pytest.approx(math.log(rate), abs=1e-6)
    assert found.mean_log.item() == pytest.approx(math.log(rate), abs=1e-6)
    assert torch.isnan(found.increments[0]).all()
    assert torch.isfinite(found.increments[1:]).all()
    assert "collapsed" not in flags(found)
    [flag] = [flag for flag in found.flags[0] if flag.name == "precision"]
    assert flag.step == 0
    assert "1 of 40 segments" in flag.detail


def test_nothing_left_is_no_number_and_no_collapse():
    def explode(z: Tensor, t: int) -> Tensor:
        return z + 1e12 ** (t + 1)

    found = from_neighbours(explode, torch.ones(1, 1, 3, dtype=D), 10, neighbours=2)
    assert torch.isnan(found.value).all()
    assert torch.isnan(found.mean_log).all()
    assert "collapsed" not in flags(found)
    [flag] = [flag for flag in found.flags[0] if flag.name == "precision"]
    assert "all 10 segments" in flag.detail


@pytest.mark.parametrize("constant", [0.0, 1.0, 1e12, 1e200])
@pytest.mark.parametrize("begin", [0, 30])
def test_a_constant_map_is_a_collapse_wherever_it_leads(constant, begin):
    def halt(z: Tensor, t: int) -> Tensor:
        return 1.1 * z if t < begin else 0 * z + constant

    found = from_neighbours(halt, torch.ones(1, 1, 3, dtype=D), 60, neighbours=2)
    assert found.value.item() == -math.inf
    assert "collapsed" in flags(found)


@pytest.mark.parametrize("jump", [False, True])
def test_a_small_chaotic_weight_is_followed_beside_a_huge_one(jump):
    # A radius for the norm of both would throw the chaotic one out of its interval.
    def step(z: Tensor, t: int) -> Tensor:
        x, y = z.unbind(-1)
        return torch.stack([4 * x * (1 - x), y + 1e12 if jump else 1.1 * y], -1)

    x = torch.linspace(0.05, 0.4, 40, dtype=D)
    z0 = torch.stack([x, torch.ones_like(x)], -1).unsqueeze(1)
    found = from_neighbours(step, z0, 600, neighbours=1, radius=1e-9)
    assert found.value.mean().item() == pytest.approx(math.log(2), abs=0.01)
    assert not any(found.has_flag("collapsed"))


def test_stack_mates_of_a_run_that_grows_keep_their_bits():
    rates = torch.tensor([0.9, 2.0, 1.01], dtype=D).view(-1, 1, 1)
    z0 = torch.ones(3, 1, 4, dtype=D)
    found = from_neighbours(lambda z, t: rates * z.sin(), z0, 80, neighbours=2)
    grown = from_neighbours(
        lambda z, t: torch.cat([rates[:1] * z[:1].sin(), 3 * z[1:2], rates[2:] * z[2:].sin()]),
        z0,
        80,
        neighbours=2,
    )
    for row in (0, 2):
        assert torch.equal(found.increments[:, row], grown.increments[:, row])
    assert grown.value[1].item() == pytest.approx(math.log(3), abs=1e-6)


def test_outputs_beside_a_huge_constant_are_left_out():
    class Offset:
        def __call__(self, z: Tensor, t: int) -> Tensor:
            return 1.1 * z

        def outputs(self, z: Tensor) -> Tensor:
            return z + 1e14

    z0 = torch.ones(1, 1, 3, dtype=D)
    found = from_neighbours(Offset(), z0, 30, neighbours=2, distance="outputs")
    assert torch.isnan(found.value).all()
    assert "precision" in flags(found)
    assert "collapsed" not in flags(found)


@pytest.mark.parametrize(("rate", "steps"), [(1e5, 100), (1e-5, 100), (1e5, 7)])
@pytest.mark.parametrize("dtype", [torch.float32, D])
def test_tangents_neither_overflow_nor_vanish_between_two_qr(rate, steps, dtype):
    def stretch(z: Tensor, t: int) -> Tensor:
        return rate * z

    found = spectrum(stretch, torch.zeros(2, 1, 2, dtype=dtype), 200, k=1, qr_every=steps)
    assert found.value.tolist() == pytest.approx([math.log(rate)] * 2, rel=1e-6)
    assert found.finite_time_maximum.tolist() == pytest.approx([math.log(rate)] * 2, rel=1e-6)


def test_a_tangent_that_overflows_in_a_long_segment_is_no_divergence():
    z0 = torch.zeros(1, 1, 2, dtype=D)
    found = from_tangents(lambda z, t: 1e10 * z, z0, 80, segment=40)
    assert flags(found) >= {"precision"}
    assert "diverged" not in flags(found)


def test_a_derivative_is_checked_once_a_map_and_counted():
    matrix = turn(1.1)
    step, z0 = LinearMap(matrix), torch.ones(1, 1, 2, dtype=D)
    costs = [from_tangents(step, z0, 5).gradient_evaluations for _ in range(2)]
    costs += [spectrum(step, z0, 5, k=1).gradient_evaluations]
    assert costs == [3 * 5 + 7, 3 * 5, 3 * 5]
    assert from_tangents(LinearMap(matrix), z0, 5).gradient_evaluations == 3 * 5 + 7
