"""The update rules agree with `torch.optim`, step by step and over stable runs."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop
from training_oracle import (
    RealTraining,
    assert_every_stack_agrees,
    assert_every_step_agrees,
    assert_whole_run_agrees,
    network,
    regression,
    training_with,
)

from lyapopt.dynamics import Training, TrainingMap

rates = st.floats(1e-4, 0.3)
decays = st.sampled_from([0.0, 1e-4, 0.1])
betas = st.sampled_from([0.0, 0.5, 0.9, 0.99])
few = settings(
    max_examples=4, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True
)
many = settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def sgd_settings(draw: st.DrawFn) -> dict[str, Any]:
    momentum = draw(st.sampled_from([0.0, 0.3, 0.9]))
    nesterov = momentum > 0 and draw(st.booleans())
    return {
        "lr": draw(rates),
        "momentum": momentum,
        "nesterov": nesterov,
        "dampening": 0.0 if nesterov else draw(st.sampled_from([0.0, 0.4])),
        "weight_decay": draw(decays),
        "maximize": draw(st.booleans()),
    }


@st.composite
def adam_settings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "optimizer_type": draw(st.sampled_from([Adam, AdamW])),
        "lr": draw(rates),
        "betas": (draw(betas), draw(betas)),
        "eps": draw(st.sampled_from([1e-8, 1e-3])),
        "weight_decay": draw(decays),
        "amsgrad": draw(st.booleans()),
        "maximize": draw(st.booleans()),
    }


@st.composite
def rmsprop_settings(draw: st.DrawFn) -> dict[str, Any]:
    return {
        "lr": draw(st.floats(1e-4, 0.05)),
        "alpha": draw(st.sampled_from([0.5, 0.9, 0.99])),
        "eps": draw(st.sampled_from([1e-6, 1e-3])),
        "momentum": draw(st.sampled_from([0.0, 0.9])),
        "centered": draw(st.booleans()),
        "weight_decay": draw(decays),
        "maximize": draw(st.booleans()),
    }


def stacked(optimizer_type: type[Optimizer], rows: list[dict[str, Any]]) -> list[Training]:
    """One training for each row of settings; the loss is bounded, so that maximising is stable."""

    def bounded(outputs: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return (outputs - target).square().mean().tanh()

    def make(row: dict[str, Any], seed: int) -> Training:
        own = dict(row)
        optimizer = own.pop("optimizer_type", optimizer_type)
        return training_with(
            lambda model: optimizer(model.parameters(), **own), seed=seed, loss_fn=bounded
        )

    return [make(row, seed) for seed, row in enumerate(rows)]


def rows_of(one: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(one, min_size=1, max_size=4)


@few
@given(rows_of(sgd_settings()))
def test_every_sgd_step_agrees_with_torch(rows: list[dict[str, Any]]) -> None:
    assert_every_stack_agrees(stacked(SGD, rows))


@few
@given(rows_of(adam_settings()))
def test_every_adam_step_agrees_with_torch(rows: list[dict[str, Any]]) -> None:
    assert_every_stack_agrees(stacked(Adam, rows))


@few
@given(rows_of(rmsprop_settings()))
def test_every_rmsprop_step_agrees_with_torch(rows: list[dict[str, Any]]) -> None:
    assert_every_stack_agrees(stacked(RMSprop, rows))


@pytest.mark.slow
@many
@given(rows_of(sgd_settings()))
def test_every_sgd_step_agrees_with_torch_for_many_settings(rows: list[dict[str, Any]]) -> None:
    assert_every_stack_agrees(stacked(SGD, rows))


@pytest.mark.slow
@many
@given(rows_of(adam_settings()))
def test_every_adam_step_agrees_with_torch_for_many_settings(rows: list[dict[str, Any]]) -> None:
    assert_every_stack_agrees(stacked(Adam, rows))


@pytest.mark.slow
@many
@given(rows_of(rmsprop_settings()))
def test_every_rmsprop_step_agrees_with_torch_for_many_settings(
    rows: list[dict[str, Any]],
) -> None:
    assert_every_stack_agrees(stacked(RMSprop, rows))


def test_nesterov_beside_momentum_and_dampening_and_decay_beside_none() -> None:
    rows = [
        {"lr": 0.1},
        {"lr": 0.1, "momentum": 0.9},
        {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
        {"lr": 0.05, "momentum": 0.5, "dampening": 0.3},
    ]
    assert_every_stack_agrees(stacked(SGD, rows))


def test_adam_beside_adamw_with_amsgrad_and_without() -> None:
    rows = [
        {"optimizer_type": Adam, "lr": 1e-2, "weight_decay": 0.1},
        {"optimizer_type": AdamW, "lr": 1e-2, "weight_decay": 0.1},
        {"optimizer_type": Adam, "lr": 1e-2, "amsgrad": True},
        {"optimizer_type": AdamW, "lr": 1e-2, "amsgrad": True, "betas": (0.5, 0.9)},
        {"optimizer_type": Adam, "lr": 1e-2, "decoupled_weight_decay": True, "weight_decay": 0.3},
    ]
    assert_every_stack_agrees(stacked(Adam, rows))


@pytest.mark.parametrize(
    ("optimizer_type", "own"),
    [
        (SGD, {"lr": 0.05, "momentum": 0.9}),
        (Adam, {"lr": 1e-3}),
        (AdamW, {"lr": 1e-3, "amsgrad": True}),
        (RMSprop, {"lr": 1e-3, "centered": True, "momentum": 0.5}),
    ],
)
def test_whole_runs_agree_in_stable_regimes(
    optimizer_type: type[Optimizer], own: dict[str, Any]
) -> None:
    assert_whole_run_agrees(stacked(optimizer_type, [own, {**own, "lr": own["lr"] / 3}]), steps=150)


@pytest.mark.parametrize("flag", ["foreach", "fused", "differentiable"])
@pytest.mark.parametrize("optimizer_type", [SGD, Adam, RMSprop])
def test_flags_of_the_implementation_change_nothing(
    optimizer_type: type[Optimizer], flag: str
) -> None:
    if optimizer_type is RMSprop and flag == "fused":
        pytest.skip("torch has no fused RMSprop")
    training = training_with(lambda m: optimizer_type(m.parameters(), lr=0.01, **{flag: True}))
    plain = training_with(lambda m: optimizer_type(m.parameters(), lr=0.01))
    step = TrainingMap([training, plain])
    z = step.initial_state()
    for t in range(5):
        z = step(z, t)
    assert torch.equal(z[0], z[1])


def test_a_learning_rate_may_be_a_tensor() -> None:
    trainings = [
        training_with(lambda m: Adam(m.parameters(), lr=torch.tensor(0.01, dtype=torch.float64))),
        training_with(lambda m: Adam(m.parameters(), lr=0.02)),
    ]
    assert_every_step_agrees(trainings, steps=30)


@pytest.mark.parametrize("optimizer_type", [SGD, Adam, RMSprop])
def test_parameter_groups_have_their_own_numbers_and_flags(optimizer_type: type[Optimizer]) -> None:
    extra = {
        SGD: ({"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.1, "maximize": True}),
        Adam: ({"amsgrad": True, "betas": (0.5, 0.9)}, {"weight_decay": 0.1, "maximize": True}),
        RMSprop: ({"centered": True, "momentum": 0.3}, {"alpha": 0.5, "weight_decay": 0.1}),
    }[optimizer_type]

    def optimizer(model: nn.Module, lr: float) -> Optimizer:
        first, second, *rest = model.parameters()
        return optimizer_type(
            [
                {"params": [first], **extra[0]},
                {"params": [second, rest[0]], "lr": 0.003, **extra[1]},
                {"params": rest[1:]},
            ],
            lr=lr,
        )

    trainings = [training_with(lambda m, lr=lr: optimizer(m, lr), seed=2) for lr in (0.01, 0.002)]
    assert_every_step_agrees(trainings, steps=100)


@pytest.mark.parametrize(
    ("optimizer_type", "own"),
    [
        (SGD, {"momentum": 0.9, "dampening": 0.5}),
        (Adam, {"amsgrad": True}),
        (AdamW, {}),
        (RMSprop, {"momentum": 0.9, "centered": True}),
    ],
)
def test_an_optimizer_that_has_made_steps_already_goes_on(
    optimizer_type: type[Optimizer], own: dict[str, Any]
) -> None:
    used = RealTraining(
        training_with(lambda m: optimizer_type(m.parameters(), lr=0.01, **own), seed=1)
    )
    for t in range(7):
        used.step(t)
    fresh = training_with(lambda m: optimizer_type(m.parameters(), lr=0.01, **own), seed=2)
    step = assert_every_step_agrees([used.training, fresh], steps=50)
    assert step.initial_state()[0, 0, len(step.weights(step.initial_state()[0, 0])) :].any()


@pytest.mark.parametrize("optimizer_type", [SGD, Adam, RMSprop])
@pytest.mark.parametrize("clip", [1e-3, 0.5, 1e3])
def test_clipping_agrees_with_torch(optimizer_type: type[Optimizer], clip: float) -> None:
    trainings = [
        training_with(
            lambda m: optimizer_type(m.parameters(), lr=0.01), clip_grad_norm=clip, seed=3
        ),
        training_with(lambda m: optimizer_type(m.parameters(), lr=0.01), seed=4),
    ]
    assert_every_step_agrees(trainings, steps=40)


@pytest.mark.parametrize("optimizer_type", [SGD, Adam, AdamW, RMSprop])
def test_float32_agrees_to_its_own_rounding(optimizer_type: type[Optimizer]) -> None:
    model = network(1, torch.float32)
    training = Training(
        model,
        nn.MSELoss(),
        optimizer_type(model.parameters(), lr=0.01),
        regression(dtype=torch.float32),
    )
    assert_every_step_agrees([training], rtol=1e-5)


@few
@given(st.integers(0, 2**40), st.integers(2, 11), st.sampled_from([SGD, Adam]))
def test_minibatches_follow_the_order_of_the_seed(
    seed: int, batch_size: int, optimizer_type: type[Optimizer]
) -> None:
    def make(own: int) -> Training:
        training = training_with(
            lambda m: optimizer_type(m.parameters(), lr=0.01), batch_size=batch_size
        )
        training.seed = own
        return training

    assert_every_step_agrees([make(seed), make(seed + 1), make(seed)], steps=25)
