"""Derivatives of the map against central differences, and never NaN where the dynamics is fine."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from test_models_match_torch import LOSSES, MODELS, make
from torch import Tensor, nn
from torch.func import jvp, vmap
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from training_oracle import regression, training_with

from lyapopt.dynamics import Training, TrainingMap

D = torch.float64
KINKED = ("relu", "cnn", "rnn-relu", "orthogonal")  # a difference across a kink is no derivative


def state_after(step: TrainingMap, steps: int = 5) -> Tensor:
    z = step.initial_state()
    for t in range(steps):
        z, _ = step.step_with_losses(z, t)
    return z


def directions(z: Tensor, count: int = 3) -> Tensor:
    source = torch.Generator().manual_seed(1)
    return torch.randn(count, *z.shape, dtype=z.dtype, generator=source)


def assert_tangents_are_differences(
    step: TrainingMap, z: Tensor, t: int, radius: float = 1e-6, rtol: float = 1e-5
) -> None:
    v = directions(z)
    # A perturbed second moment must stay positive (if centred, above the square of the mean).
    for name in ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "grad_avg"):
        if name in step.slots(z):
            for one in v:
                step.slots(one)[name].mul_(step.slots(z)[name])
    tangents = vmap(lambda v: jvp(lambda z: step(z, t), (z,), (v,))[1])(v)
    single = jvp(lambda z: step(z, t), (z,), (v[1],))[1]
    torch.testing.assert_close(single, tangents[1], rtol=1e-9, atol=1e-12)
    for one, tangent in zip(v, tangents, strict=True):
        central = (step(z + radius * one, t) - step(z - radius * one, t)) / (2 * radius)
        error = (central - tangent).abs().max() / central.abs().max()
        assert float(error) < rtol


OPTIMIZERS: dict[str, Callable[[nn.Module], Optimizer]] = {
    "sgd": lambda m: SGD(m.parameters(), lr=0.1),
    "momentum": lambda m: SGD(m.parameters(), lr=0.1, momentum=0.9, weight_decay=0.1),
    "nesterov": lambda m: SGD(m.parameters(), lr=0.1, momentum=0.9, nesterov=True),
    "adam": lambda m: Adam(m.parameters(), lr=0.01, weight_decay=0.1, eps=1e-3),
    "amsgrad": lambda m: Adam(m.parameters(), lr=0.01, amsgrad=True, eps=1e-3),
    "adamw": lambda m: AdamW(m.parameters(), lr=0.01, eps=1e-3),
    "rmsprop": lambda m: RMSprop(m.parameters(), lr=0.01, eps=1e-3),
    "centered": lambda m: RMSprop(m.parameters(), lr=0.01, eps=1e-1, centered=True, momentum=0.9),
}


@pytest.mark.parametrize("clip", [None, 1e-2])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_tangents_of_every_optimizer_agree_with_central_differences(
    name: str, clip: float | None
) -> None:
    trainings = [
        training_with(OPTIMIZERS[name], seed=seed, clip_grad_norm=clip) for seed in range(2)
    ]
    step = TrainingMap(trainings)
    assert_tangents_are_differences(step, state_after(step), 5)


@pytest.mark.parametrize("name", [n for n in MODELS if n not in KINKED])
def test_tangents_of_every_model_agree_with_central_differences(name: str) -> None:
    step = TrainingMap([make(name, seed, batch_size=5) for seed in range(2)])
    z = step.initial_state()
    if name in ("batch-norm", "dropout"):
        radius = 1e-8
        assert_tangents_are_differences(step, z, 1, radius, rtol=1e-3)
    else:
        assert_tangents_are_differences(step, z, 1)


@pytest.mark.parametrize("name", ["cnn", "batch-norm", "dropout", "lstm", "transformer"])
def test_tangents_work_in_float32(name: str) -> None:
    step = TrainingMap([make(name, 0, torch.float32, batch_size=5)])
    z = step.initial_state()
    z_next, tangent = jvp(lambda z: step(z, 0), (z,), (torch.ones_like(z),))
    assert tangent.isfinite().all()
    torch.testing.assert_close(z_next, step.step_with_losses(z, 0)[0], rtol=1e-4, atol=1e-5)


def with_zero_gradients(optimizer: Callable[[nn.Module], Optimizer], **settings: Any) -> Training:
    """A net whose first layer's last input is always zero: those weights have no gradient."""
    x, y = regression()
    x = torch.cat([x[:, :2], torch.zeros_like(x[:, :1])], 1)
    return training_with(optimizer, data=(x, y), **settings)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_weights_without_gradient_have_finite_tangents(name: str) -> None:
    step = TrainingMap([with_zero_gradients(OPTIMIZERS[name])])
    z = state_after(step, 2)
    if name in ("adamw", "amsgrad", "rmsprop", "centered", "nesterov"):  # no decay enters there
        assert all(bool((slot == 0).any()) for slot in step.slots(z).values())
    for v in directions(z):
        tangent = jvp(lambda z: step(z, 2), (z,), (v,))[1]
        assert tangent.isfinite().all()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("clip", [None, 1.0])
def test_a_point_of_zero_gradient_has_finite_tangents(name: str, clip: float | None) -> None:
    x, y = regression()
    model = nn.Linear(3, 2, dtype=D)
    with torch.no_grad():
        model.weight.zero_()
        model.bias.zero_()
    training = Training(
        model, nn.MSELoss(), OPTIMIZERS[name](model), (x, 0 * y), clip_grad_norm=clip
    )
    step = TrainingMap([training])
    z = step.initial_state()
    for v in directions(z):
        z_next, tangent = jvp(lambda z: step(z, 0), (z,), (v,))
        assert z_next.isfinite().all()
        assert tangent.isfinite().all()


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_composable_way_gives_the_same_numbers_as_the_fast_one(name: str) -> None:
    step = TrainingMap([with_zero_gradients(OPTIMIZERS[name], clip_grad_norm=0.1)])
    z = state_after(step, 3)
    torch.testing.assert_close(step(z, 3), step.step_with_losses(z, 3)[0], rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("name", [n for n in LOSSES if n != "l1"])
def test_tangents_of_every_loss_agree_with_central_differences(name: str) -> None:
    loss_fn, target = LOSSES[name]
    trainings = [
        training_with(
            OPTIMIZERS["momentum"], loss_fn=loss_fn, data=(regression()[0], target), seed=seed
        )
        for seed in range(2)
    ]
    step = TrainingMap(trainings)
    assert_tangents_are_differences(step, step.initial_state(), 0)


def test_tangents_under_vmap_are_quiet() -> None:
    step = TrainingMap([training_with(OPTIMIZERS["momentum"], seed=s) for s in range(3)])
    z = step.initial_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        vmap(lambda v: jvp(lambda z: step(z, 0), (z,), (v,))[1])(directions(z))


def test_the_map_works_where_gradients_are_switched_off() -> None:
    with torch.no_grad():
        step = TrainingMap([training_with(OPTIMIZERS["adam"])])
        z = step.initial_state()
        torch.testing.assert_close(step(z, 0), step.step_with_losses(z, 0)[0])


def test_the_jacobian_of_gradient_descent_is_one_minus_rate_times_hessian() -> None:
    x, y = regression()
    model = nn.Linear(3, 1, bias=False, dtype=D)
    training = Training(model, nn.MSELoss(), SGD(model.parameters(), lr=0.1), (x, y[:, :1]))
    step = TrainingMap([training])
    z = step.initial_state()
    rows = vmap(lambda v: jvp(lambda z: step(z, 0), (z,), (v.view_as(z),))[1])(
        torch.eye(3, dtype=D)
    )
    expected = torch.eye(3, dtype=D) - 0.1 * 2 * x.mT @ x / len(x)
    torch.testing.assert_close(rows.view(3, 3), expected)


def test_caches_hold_nothing_of_a_transform() -> None:
    step = TrainingMap([training_with(OPTIMIZERS["adam"], batch_size=4)])
    z = step.initial_state()
    vmap(lambda v: jvp(lambda z: step(z, 0), (z,), (v,))[1])(directions(z))
    kept = [c for now in step._coefficients._coefficients for c in now.values()]
    kept += step._batches._epochs.values()
    assert not any(torch._C._functorch.is_functorch_wrapped_tensor(tensor) for tensor in kept)
