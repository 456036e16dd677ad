"""Outputs and targets of different shapes are refused, where torch's losses only warn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

import lyapopt
from lyapopt.dynamics import Training, TrainingMap, stack
from lyapopt.errors import UserError

X = torch.linspace(-1, 1, 12, dtype=torch.float64).view(6, 2)
FLAT = torch.arange(6, dtype=torch.float64)

LOSSES: dict[str, Any] = {
    "MSELoss": nn.MSELoss(),
    "L1Loss": nn.L1Loss(),
    "SmoothL1Loss": nn.SmoothL1Loss(),
    "HuberLoss": nn.HuberLoss(),
    "PoissonNLLLoss": nn.PoissonNLLLoss(),
    "KLDivLoss": nn.KLDivLoss(reduction="batchmean"),
    "SoftMarginLoss": nn.SoftMarginLoss(),
    "by keywords": lambda outputs, target: F.mse_loss(target=target, input=outputs),
    "inside a function": lambda outputs, target: 2 * F.mse_loss(outputs, target),
}


def training(loss_fn: Any, optimizer: Any = torch.optim.SGD, **changes: Any) -> Training:
    model = nn.Linear(2, 1, dtype=torch.float64)
    parts = {"data": (X, FLAT), "steps": 3, **changes}
    return Training(model, loss_fn, optimizer(model.parameters(), lr=0.01), **parts)


def by_map(loss_fn: Any) -> object:
    return TrainingMap([training(loss_fn)])


def unstacked(loss_fn: Any) -> object:
    return stack([training(loss_fn, torch.optim.Adagrad)])


def by_probe(loss_fn: Any) -> object:
    return lyapopt.Probe(horizon=2).measure([training(loss_fn)])


def by_exponent(loss_fn: Any) -> object:
    model = nn.Linear(2, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    return lyapopt.training_exponent(model, loss_fn, sgd, (X, FLAT), horizon=2)


def by_watch(loss_fn: Any) -> object:
    model = nn.Linear(2, 1)
    sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    return lyapopt.watch(None, model, sgd, loss_fn).observe(X.float(), FLAT.float())


@pytest.mark.parametrize("enter", [by_map, unstacked, by_probe, by_exponent, by_watch])
@pytest.mark.parametrize("loss", LOSSES)
def test_outputs_in_a_column_against_flat_targets_are_an_error_in_every_entry_point(
    loss: str, enter: Callable[[Any], object]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        expected = r"outputs \(6, 1\) and targets \(6,\) .*target\.view\(-1, 1\)"
        with pytest.raises(UserError, match=expected):
            enter(LOSSES[loss])


def test_targets_of_another_number_are_refused_without_advice_that_cannot_be_followed() -> None:
    wide = FLAT.unsqueeze(1).repeat(1, 2)
    with pytest.raises(UserError, match=r"\(6, 2\).*as many outputs as there are targets"):
        TrainingMap([training(nn.MSELoss(), data=(X, wide))])


def test_validation_data_of_another_shape_are_refused() -> None:
    one = training(nn.MSELoss(), data=(X, FLAT.view(-1, 1)), validation=(X, FLAT))
    step = TrainingMap([one])
    with pytest.raises(UserError, match=r"validation: mse_loss of outputs \(6, 1\)"):
        step.evaluate(step.initial_state())


@pytest.mark.parametrize("loss", LOSSES)
def test_equal_shapes_have_the_loss_that_torch_gives(loss: str) -> None:
    target = FLAT.view(-1, 1) / 6
    one = training(LOSSES[loss], data=(X, target))
    step = TrainingMap([one])
    _, losses = step.step_with_losses(step.initial_state(), 0)
    expected: Tensor = LOSSES[loss](one.model(X), target)
    assert losses.item() == pytest.approx(expected.item(), rel=1e-12)


def test_a_function_of_the_users_may_broadcast() -> None:
    def ranking(outputs: Tensor, target: Tensor) -> Tensor:
        gaps = outputs - outputs.squeeze(1)
        signs = (target.unsqueeze(1) - target).sign()
        return F.relu(1 - signs * gaps).mean()

    TrainingMap([training(ranking)])
