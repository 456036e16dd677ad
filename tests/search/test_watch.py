"""Exponents in a user's own loop."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
import torch
from torch import Tensor, nn

import lyapopt
from lyapopt.errors import UserError


def batches(count: int, size: int = 8) -> Iterator[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.randn(size, 3, generator=source)
        yield x, x.sum(1, keepdim=True).sin()


def network(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 1))


def loop(model: nn.Module, optimizer: torch.optim.Optimizer, monitor: Any, steps: int = 12) -> None:
    for x, y in batches(steps):
        if monitor is not None:
            monitor.observe(x, y)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()


@pytest.mark.parametrize(("lr", "verdict"), [(0.05, "contracting"), (0.24, "hot")])
def test_the_exponent_of_a_quadratic_is_exact_also_for_float32_weights(
    lr: float, verdict: str
) -> None:
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=10)
    x = torch.full((1, 1), math.sqrt(5.0))  # curvature 10
    for _ in range(10):
        monitor.observe(x, 0 * x)
    assert monitor.exponent == pytest.approx(math.log(abs(1 - lr * 10)), abs=1e-6)
    assert monitor.verdict == verdict
    assert monitor.should_stop() == (verdict == "hot")


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam, torch.optim.RMSprop])
def test_the_loop_is_the_same_with_and_without_a_monitor(optimizer: Any) -> None:
    plain, watched = network(dropout=0.5), network(dropout=0.5)
    optimizers = [optimizer(model.parameters(), lr=0.01) for model in (plain, watched)]
    torch.manual_seed(1)
    loop(plain, optimizers[0], None)
    torch.manual_seed(1)
    monitor = lyapopt.watch(
        None, watched, optimizers[1], nn.functional.mse_loss, horizon=10, neighbours=2
    )
    loop(watched, optimizers[1], monitor)
    for a, b in zip(plain.parameters(), watched.parameters(), strict=True):
        assert torch.equal(a, b)
    assert monitor.is_done
    assert monitor.gradient_evaluations == 30 + 12


def test_a_trial_gets_exponent_verdict_and_cost() -> None:
    study = optuna.create_study()
    trial = study.ask()
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with lyapopt.watch(trial, model, optimizer, nn.functional.mse_loss, horizon=10) as monitor:
        loop(model, optimizer, monitor)
    study.tell(trial, 1.0)
    attributes = study.trials[0].user_attrs
    assert attributes["verdict"] == "contracting"
    assert attributes["gradient_evaluations"] == 20 + 12
    assert attributes["exponent"] == pytest.approx(monitor.exponent, rel=1e-5)


def test_accumulated_batches_are_one_step_of_their_mean() -> None:
    def exponent(accumulate: int) -> float:
        model = network()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = lyapopt.watch(
            None, model, optimizer, nn.functional.mse_loss, horizon=6, accumulate=accumulate
        )
        for x, y in batches(6):
            for part in range(accumulate):
                rows = slice(part * 8 // accumulate, (part + 1) * 8 // accumulate)
                monitor.observe(x[rows], y[rows])
        assert monitor.exponent is not None
        return monitor.exponent

    assert exponent(4) == pytest.approx(exponent(1), rel=1e-7)


def test_weights_that_are_not_trained_are_not_perturbed_and_modes_are_followed() -> None:
    def exponent(frozen: bool, mode: bool) -> float:
        model = network(dropout=0.5)
        parts = [model[3]] if frozen else model
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        model.requires_grad_(False)
        for part in parts:
            part.requires_grad_(True)
        model.eval()
        monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=6)
        model.train(mode)  # after the copies were made
        torch.manual_seed(1)
        for x, y in batches(6):
            monitor.observe(x, y)
        assert monitor.exponent is not None
        return monitor.exponent

    assert exponent(frozen=True, mode=False) != exponent(frozen=False, mode=False)
    assert exponent(frozen=False, mode=True) != exponent(frozen=False, mode=False)


def test_inputs_may_be_tuples_and_mappings() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1))

        def forward(self, a: Tensor, b: Tensor) -> Tensor:
            return self.weight * (a + b)

    def exponent(x: Any) -> float | None:
        model = Sum()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=3)
        for _ in range(3):
            monitor.observe(x, torch.zeros(1))
        return monitor.exponent

    one = torch.ones(1)
    # The curvature of (w (1 + 1))^2 is eight.
    assert exponent((one, one)) == pytest.approx(math.log(0.2), abs=1e-6)
    assert exponent({"a": one, "b": one}) == pytest.approx(math.log(0.2), abs=1e-6)


def test_steps_of_uneven_groups_of_batches_are_taken_when_told() -> None:
    model = nn.Linear(1, 1, bias=False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    monitor = lyapopt.watch(
        None, model, optimizer, nn.functional.mse_loss, horizon=2, accumulate=None
    )
    x = torch.full((1, 1), math.sqrt(5.0))  # curvature 10
    for group in (1, 3):
        for _ in range(group):
            monitor.observe(x, 0 * x)
        monitor.step()
    # Gradients add up: growth |1 - 0.5| and then |1 - 1.5|.
    assert monitor.exponent == pytest.approx(math.log(0.5), abs=1e-6)


def test_an_optimizer_of_another_model_is_refused() -> None:
    optimizer = torch.optim.SGD(network().parameters(), lr=0.1)
    with pytest.raises(UserError, match="does not train this model"):
        lyapopt.watch(None, network(), optimizer, nn.functional.mse_loss)
    model = network()
    with pytest.raises(UserError, match="horizon"):
        lyapopt.watch(
            None,
            model,
            torch.optim.SGD(model.parameters(), lr=0.1),
            nn.functional.mse_loss,
            horizon=0,
        )


class SharpnessAware(torch.optim.SGD):
    """Steps twice; the closure has a default only to look like any other optimiser."""

    def step(self, closure: Any = None) -> None:
        assert closure is not None, "needs a closure"


def test_an_optimizer_that_steps_with_a_closure_alone_is_refused_before_the_first_step() -> None:
    def observed(optimizer: Any) -> None:
        model = network()
        sgd = optimizer(model.parameters(), lr=0.1)
        monitor = lyapopt.watch(None, model, sgd, nn.functional.mse_loss)
        monitor.observe(*next(batches(1)))

    with pytest.raises(UserError, match=r"SharpnessAware cannot be watched.*needs a closure"):
        observed(SharpnessAware)


def test_a_run_that_diverges_is_said_to() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e30)
    monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss)
    loop(copy.deepcopy(model), optimizer, monitor, 20)
    assert monitor.verdict == "diverged"
