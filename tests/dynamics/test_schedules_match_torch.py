"""Schedules are part of the map, and the user's own objects stay where they are."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim import SGD, Adam, Optimizer, lr_scheduler
from training_oracle import assert_every_step_agrees, training_with

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.errors import NotStackableError, TrainingError

SCHEDULES: dict[str, Callable[[Optimizer], Any]] = {
    "constant": lambda o: lr_scheduler.ConstantLR(o, factor=0.5, total_iters=10),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=30),
    "cosine-restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, T_0=7),
    "step": lambda o: lr_scheduler.StepLR(o, step_size=9, gamma=0.5),
    "multi-step": lambda o: lr_scheduler.MultiStepLR(o, milestones=[5, 20], gamma=0.3),
    "exponential": lambda o: lr_scheduler.ExponentialLR(o, gamma=0.97),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, total_iters=40),
    "warm-up": lambda o: lr_scheduler.LinearLR(o, start_factor=0.1, total_iters=15),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda t: 1 / (1 + t)),
    "one-cycle": lambda o: lr_scheduler.OneCycleLR(o, max_lr=0.05, total_steps=300),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.05, step_size_up=8, cycle_momentum=False),
    "sequential": lambda o: lr_scheduler.SequentialLR(
        o,
        [lr_scheduler.LinearLR(o, 0.1, total_iters=10), lr_scheduler.CosineAnnealingLR(o, 50)],
        milestones=[10],
    ),
    "chained": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o, 0.5, 10), lr_scheduler.ExponentialLR(o, 0.97)], optimizer=o
    ),
    "function": lambda o: lambda t: 0.5 * (1 + math.cos(math.pi * t / 50)),
}


def scheduled(
    optimizer_type: type[Optimizer], schedule: Callable[[Optimizer], Any], seed: int
) -> Training:
    own = {"lr": 0.01 * (1 + seed), **({"momentum": 0.9} if optimizer_type is SGD else {})}
    training = training_with(lambda m: optimizer_type(m.parameters(), **own), seed=seed)
    training.scheduler = schedule(training.optimizer)
    return training


@pytest.mark.filterwarnings("ignore:Detected call of")
@pytest.mark.parametrize(
    ("name", "optimizer_type"),
    [(n, SGD) for n in SCHEDULES] + [("one-cycle", Adam), ("cosine", Adam)],
)
def test_every_step_of_the_schedule_agrees_with_torch(
    name: str, optimizer_type: type[Optimizer]
) -> None:
    steps = 160 if name == "one-cycle" else 40  # beyond one window of coefficients
    trainings = [scheduled(optimizer_type, SCHEDULES[name], seed) for seed in range(2)]
    assert_every_step_agrees([*trainings, scheduled(optimizer_type, lambda o: None, 2)], steps)


def test_reading_a_schedule_moves_neither_optimizer_nor_scheduler() -> None:
    training = scheduled(SGD, SCHEDULES["one-cycle"], 0)
    before = copy.deepcopy(training.optimizer.state_dict()), training.scheduler.state_dict()
    step = TrainingMap([training])
    step(step.initial_state(), 140)
    assert training.optimizer.state_dict() == before[0]
    assert training.scheduler.state_dict() == before[1]


def test_a_schedule_that_has_begun_goes_on_from_where_it_is() -> None:
    training = scheduled(SGD, SCHEDULES["step"], 0)
    for _ in range(8):
        training.optimizer.step()
        training.scheduler.step()
    step = TrainingMap([training])
    rates = [float(step._coefficients.at(t)["lr"]) for t in range(3)]
    assert rates == pytest.approx([0.01, 0.005, 0.005])


def test_parameter_groups_have_schedules_of_their_own() -> None:
    training = training_with(
        lambda m: SGD([{"params": m[0].parameters()}, {"params": m[2].parameters()}], lr=0.1)
    )
    training.scheduler = lr_scheduler.LambdaLR(
        training.optimizer, [lambda t: 1 / (1 + t), lambda t: 0.9**t]
    )
    assert_every_step_agrees([training], 30)


def test_times_may_be_asked_for_in_any_order() -> None:
    step = TrainingMap([scheduled(Adam, SCHEDULES["cosine"], 0)])
    z = step.initial_state()
    there = step(z, 300)
    step(z, 3)
    assert torch.equal(there, step(z, 300))


def test_the_end_of_a_schedule_is_said() -> None:
    short = scheduled(SGD, lambda o: lr_scheduler.OneCycleLR(o, 0.1, total_steps=5), 0)
    step = TrainingMap([short, scheduled(SGD, lambda o: None, 1)])
    z = step.initial_state()
    for t in range(6):
        z = step(z, t)
    with pytest.raises(TrainingError, match="ends after 6 steps"):
        step(z, 6)


def test_a_function_that_raises_is_an_error_of_the_training() -> None:
    training = scheduled(SGD, lambda o: lambda t: 1 / t, 0)
    step = TrainingMap([training])
    with pytest.raises(TrainingError, match="schedule failed: division by zero"):
        step(step.initial_state(), 0)


def test_a_schedule_that_turns_on_weight_decay_is_refused() -> None:
    class Decaying(lr_scheduler.LRScheduler):
        def get_lr(self) -> list[float]:
            self.optimizer.param_groups[0]["weight_decay"] = 0.1 * (self.last_epoch > 3)
            return [0.1]

    step = TrainingMap([scheduled(SGD, Decaying, 0)])
    with pytest.raises(NotStackableError, match="turns on weight_decay"):
        step(step.initial_state(), 0)


def test_a_schedule_that_looks_at_losses_is_refused() -> None:
    t = training_with(lambda m: SGD(m.parameters(), lr=0.1))
    plateau = lr_scheduler.ReduceLROnPlateau(t.optimizer)
    with pytest.raises(TrainingError, match="ReduceLROnPlateau"):
        Training(t.model, t.loss_fn, t.optimizer, t.data, scheduler=plateau)
