"""The sum of all exponents is the mean of ln |det J|, whatever the trajectory does."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.exponents import Spectrum, spectrum

SGD = torch.optim.SGD


def full(training: Training, horizon: int, **options) -> tuple[TrainingMap, Spectrum]:
    step = TrainingMap([training])
    return step, spectrum(step, step.initial_state(), horizon, **options)


@pytest.mark.parametrize(
    "sizes",
    [
        (2, 2, 1),
        (3, 6, 2),
        pytest.param((3, 4, 2), marks=pytest.mark.slow),
        pytest.param((4, 5, 2), marks=pytest.mark.slow),
        pytest.param((2, 3, 3, 3, 1), marks=pytest.mark.slow),
    ],
    ids=str,
)
@pytest.mark.parametrize("batch_size", [None, 4])
def test_the_heavy_ball_contracts_phase_space_by_the_momentum(sizes, batch_size):
    momenta = [0.2, 0.5, 0.9, 0.99]
    trainings = [
        oracle.mlp(sizes, lambda p, mu=mu: SGD(p, lr=0.2, momentum=mu), batch_size=batch_size)
        for mu in momenta
    ]
    step = TrainingMap(trainings)
    P = step.weights(step.initial_state()).shape[-1]
    found = spectrum(step, step.initial_state(), 50)
    assert found.values.shape == (4, 2 * P)
    exact = [P * math.log(mu) for mu in momenta]
    torch.testing.assert_close(found.sum.tolist(), exact, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.01},
        {"lr": 0.1, "momentum": 0.9, "nesterov": True},
        {"lr": 0.5, "momentum": 0.9},
    ],
    ids=str,
)
def test_schedules_clipping_and_decay_leave_the_sum_of_the_heavy_ball(options):
    training = oracle.mlp(
        (3, 4, 2),
        lambda p: SGD(p, **options),
        batch_size=6,
        scheduler=lambda t: 1 / (1 + 0.1 * t),
        clip_grad_norm=0.3,
    )
    step, found = full(training, 50)
    P = step.weights(step.initial_state()).shape[-1]
    # w' depends on b' and w alone: det = momentum^P times det(1) for every kind of gradient; with
    # Nesterov's step w' = w - lr (g + mu b'), which brings a factor of its own.
    if options.get("nesterov"):
        logs = [_log_det(step, z, t) for t, z in enumerate(_trajectory(step, 50))]
        assert abs(found.sum.item() / (sum(logs) / 50) - 1) < 1e-12
    else:
        torch.testing.assert_close(
            found.sum.item(), P * math.log(options["momentum"]), rtol=1e-12, atol=0
        )


@pytest.mark.parametrize(("sizes", "lr"), [((2, 3, 1), 0.2), ((3, 4, 2), 0.5), ((4, 5, 2), 0.05)])
@pytest.mark.parametrize("batch_size", [None, 6])
def test_plain_descent_has_the_mean_log_determinant(sizes, lr, batch_size):
    training = oracle.mlp(sizes, lambda p: SGD(p, lr=lr), batch_size=batch_size)
    step, found = full(training, 60)
    logs = [_log_det(step, z, t) for t, z in enumerate(_trajectory(step, 60))]
    torch.testing.assert_close(found.sum.item(), sum(logs) / 60, rtol=1e-12, atol=0)


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.Adam(p, lr=0.01),
        lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.01, momentum=0.5),
    ],
    ids=["Adam", "AdamW", "RMSprop"],
)
def test_adaptive_optimisers_have_the_determinant_of_their_whole_update(make):
    training = oracle.mlp((2, 3, 1), make, batch_size=8)
    step = TrainingMap([training])
    z = step.initial_state()
    for t in range(20):  # the first second moments are zero: a singular start
        z = step(z, t)
    found = spectrum(step, z, 30, start=20)
    logs = []
    for t in range(20, 50):
        logs.append(_log_det(step, z, t))
        z = step(z, t)
    torch.testing.assert_close(found.sum.item(), sum(logs) / 30, rtol=1e-7, atol=0)


def _trajectory(step: TrainingMap, steps: int) -> list[torch.Tensor]:
    states = [step.initial_state()]
    for t in range(steps - 1):
        states.append(step(states[-1], t))
    return states


def _log_det(step: TrainingMap, z: torch.Tensor, t: int) -> float:
    return torch.linalg.slogdet(oracle.jacobian(step, z, t))[1].item()
