"""Exponents of trainings that can be worked out on paper."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.exponents import Exponent, Spectrum, from_neighbours, spectrum

SGD = torch.optim.SGD


def tangents(*trainings: Training, burn_in: int = 300, horizon: int = 50, **options) -> Spectrum:
    step = TrainingMap(trainings)
    return spectrum(step, step.initial_state(), horizon, burn_in=burn_in, **options)


def neighbours(*trainings: Training, burn_in: int = 300, horizon: int = 50, **options) -> Exponent:
    step = TrainingMap(trainings)
    return from_neighbours(
        step, step.initial_state(), horizon, burn_in=burn_in, neighbours=2, **options
    )


def assert_values(found: Tensor, exact: list[float], atol: float) -> None:
    expected = torch.tensor(sorted(exact, reverse=True), dtype=found.dtype)
    torch.testing.assert_close(found, expected, rtol=0, atol=atol)


def test_gradient_descent_on_a_quadratic_contracts_by_one_minus_lr_h():
    curvatures = [3.1, 1.0, 0.4]
    settings = [(0.5, 0.0), (0.1, 0.0), (0.62, 0.0), (0.3, 0.2), (0.2, 1.5), (0.65, 0.0)]
    trainings = [
        oracle.quadratic(curvatures, lambda p, lr=lr, wd=wd: SGD(p, lr=lr, weight_decay=wd))
        for lr, wd in settings
    ]
    exact = [[math.log(abs(1 - lr * (h + wd))) for h in curvatures] for lr, wd in settings]
    values, value = tangents(*trainings).values, neighbours(*trainings).value
    for row, expected in enumerate(exact):
        assert_values(values[row], expected, 1e-9)
        assert_values(value[row : row + 1], [max(expected)], 1e-6)


def test_the_heavy_ball_has_the_roots_of_its_characteristic_polynomial():
    curvatures = [2.0, 0.5]
    settings = [
        {"lr": 0.1, "momentum": 0.3},
        {"lr": 0.05, "momentum": 0.3, "weight_decay": 0.5},
        {"lr": 0.05, "momentum": 0.4, "nesterov": True},
        {"lr": 0.1, "momentum": 0.3, "dampening": 0.4},
        {"lr": 0.95, "momentum": 0.05},
    ]
    trainings = [
        oracle.quadratic(curvatures, lambda p, options=options: SGD(p, **options))
        for options in settings
    ]
    values, value = tangents(*trainings).values, neighbours(*trainings).value
    for row, options in enumerate(settings):
        matrices = [oracle.sgd_matrix(h, **options) for h in curvatures]
        exact = [logarithm for matrix in matrices for logarithm in oracle.moduli(matrix)]
        assert_values(values[row], exact, 1e-9)
        assert_values(value[row : row + 1], [max(exact)], 1e-6)


def test_a_complex_pair_has_its_sum_exactly_and_each_to_one_over_the_horizon():
    training = oracle.quadratic([1.0], lambda p: SGD(p, lr=0.5, momentum=0.9))
    found = tangents(training, burn_in=0, horizon=250)
    torch.testing.assert_close(found.sum.item(), math.log(0.9), rtol=0, atol=1e-12)
    assert (found.values - 0.5 * math.log(0.9)).abs().max() < 10 / 250
    assert abs(neighbours(training, horizon=1000).value.item() - 0.5 * math.log(0.9)) < 10 / 1000


def test_adamw_without_a_gradient_only_shrinks_the_weights():
    lr, decay = 0.1, 0.7
    training = oracle.quadratic([0.0, 0.0], lambda p: torch.optim.AdamW(p, lr, weight_decay=decay))
    exact = [math.log(1 - lr * decay)] * 2
    assert_values(tangents(training, burn_in=10, horizon=30, k=2).values[0], exact, 1e-9)
    assert_values(neighbours(training, burn_in=10, horizon=30).value, exact[:1], 1e-6)


def adam_matrix(ratio: float, shrink: float = 1.0, beta: float = 0.9) -> list[list[float]]:
    """Adam with a frozen second moment on (w, m / h), `ratio` being lr h / s."""
    return [[shrink - ratio * (1 - beta), -ratio * beta], [1 - beta, beta]]


@pytest.mark.parametrize(
    ("decay", "ratios"),
    [
        (0.0, [0.002, 37.98, 38.02, 38.4]),
        pytest.param(2.0, [0.005, 37.7, 38.2], marks=pytest.mark.slow),
    ],
)
def test_adam_with_a_frozen_second_moment_has_its_edge_at_38(decay, ratios):
    scale, lr = 0.1, 0.01
    make = oracle.with_frozen_second_moment(
        lambda p: torch.optim.AdamW(p, lr, (0.9, 1 - 1e-14), eps=1e-30, weight_decay=decay),
        "exp_avg_sq",
        scale,
    )
    trainings = [oracle.quadratic([ratio * scale / lr], make, w0=1e-60) for ratio in ratios]
    exact = [oracle.moduli(adam_matrix(ratio, 1 - lr * decay))[0] for ratio in ratios]
    values = tangents(*trainings, burn_in=420, k=1).values
    value = neighbours(*trainings, radius=1e-12).value
    for row, expected in enumerate(exact):
        assert_values(values[row], [expected], 1e-9)
        assert_values(value[row : row + 1], [expected], 1e-6)
    if decay == 0:
        assert (value > 0).tolist()[1:] == [False, True, True]


def test_rmsprop_with_a_frozen_mean_square_is_gradient_descent_with_another_rate():
    scale, lr, h = 0.2, 0.01, 3.0
    make = oracle.with_frozen_second_moment(
        lambda p: torch.optim.RMSprop(p, lr, alpha=1 - 1e-14, eps=1e-30), "square_avg", scale
    )
    training = oracle.quadratic([h], make, w0=1e-60)
    exact = math.log(1 - lr * h / scale)
    assert_values(tangents(training, burn_in=50, k=1).values[0], [exact], 1e-9)
    assert_values(neighbours(training, burn_in=50, radius=1e-12).value, [exact], 1e-6)


def chaotic(w: float) -> Training:
    """Gradient descent with rate 1 on `(w^2 - 1)^2 / 2`, a Chebyshev map of degree 3."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, w)
    one = torch.ones(1, 1, dtype=torch.float64)

    def loss(outputs: Tensor, target: Tensor) -> Tensor:
        return (outputs.square() - target).square().mean() / 2

    return Training(model, loss, SGD(model.parameters(), lr=1.0), (one, one))


def chebyshev_points(count: int) -> list[float]:
    """Stratified points of the invariant density of `w <- 3 w - 2 w^3`."""
    return [2**0.5 * math.cos(math.pi * (i + 0.413) / count) for i in range(count)]


def test_chaotic_training_has_exponent_ln_3():
    count, horizon = 200, 300
    loss = chaotic(0.5).loss_fn
    trainings = [chaotic(w) for w in chebyshev_points(count)]
    for training in trainings:
        training.loss_fn = loss
    step = TrainingMap(trainings)
    z0 = step.initial_state()
    # The increments are ln 3 plus a difference, of which only the ends are left.
    error = 3 * 0.91 / (horizon * count**0.5)
    found = from_neighbours(step, z0, horizon, neighbours=1, radius=1e-9)
    assert abs(found.value.mean().item() - math.log(3)) < error
    assert abs(spectrum(step, z0, horizon).value.mean().item() - math.log(3)) < error


def test_tangents_of_chaotic_training_are_the_derivative_along_the_orbit():
    def step(z: Tensor, t: int) -> Tensor:
        return 3 * z - 2 * z**3

    z = z0 = torch.tensor(chebyshev_points(5), dtype=torch.float64).view(5, 1, 1)
    total = torch.zeros(5, dtype=torch.float64)
    for t in range(200):
        total += (3 - 6 * z[:, 0, 0] ** 2).abs().log()
        z = step(z, t)
    torch.testing.assert_close(spectrum(step, z0, 200).value, total / 200, rtol=0, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["neighbours", "tangents"])
def test_chaotic_training_has_exponent_ln_3_to_five_digits(method):
    def step(z: Tensor, t: int) -> Tensor:
        return z - 2 * z * (z * z - 1)

    z0 = torch.tensor(chebyshev_points(2), dtype=torch.float64).view(2, 1, 1)
    if method == "neighbours":
        found = from_neighbours(step, z0, 200_000, neighbours=1, radius=1e-9).value
    else:
        found = spectrum(step, z0, 150_000, qr_every=10).value
    assert abs(found.mean().item() - math.log(3)) < 1e-5


@pytest.mark.parametrize("curvatures", [[2.0], [2.0, 1.0, 0.3], [4.0 / 3, 0.1]])
def test_a_rate_of_one_over_the_curvature_annihilates_a_direction(curvatures):
    lr = 1 / curvatures[0]
    training = oracle.quadratic(curvatures, lambda p: SGD(p, lr=lr))
    found = tangents(training, burn_in=300, horizon=40)
    exact = [math.log(1 - lr * h) for h in curvatures[1:]]
    assert found.values[0, -1].item() == -math.inf
    assert_values(found.values[0, :-1], exact, 1e-9)
    assert found.has_flag("collapsed") == [True]
    assert found.sum.item() == -math.inf
    assert found.kaplan_yorke_dimension().item() == 0


def test_momentum_brings_back_a_separation_that_left_the_weights():
    # With lr h = 1 the first step empties the weights into the momentum; (w, b) never collapse.
    training = oracle.quadratic([2.0], lambda p: SGD(p, lr=0.5, momentum=0.81))
    found = neighbours(training, burn_in=0, horizon=1000)
    assert found.has_flag("collapsed") == [False]
    assert abs(found.value.item() - 0.5 * math.log(0.81)) < 30 / 1000
