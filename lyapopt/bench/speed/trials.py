"""Groups of trials: trained together against one eager loop after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from lyapopt.bench.speed.rivals import Work, eager
from lyapopt.bench.timing import Row, interleave
from lyapopt.dynamics import AnyTrainingMap, Training, stack
from lyapopt.dynamics.compilation import Compile
from lyapopt.tasks.builder import TaskBuilder

_ACTIVATIONS = ("linear", "sigmoid", "relu", "tanh", "gelu")
_STEPS = 600


def trial_rows(rounds: int, compiles: bool) -> Iterator[Row]:
    """Training times of whole groups."""
    digits = _trials("digits", 16, {"steps": _STEPS, "hidden": [32, 32]})
    xor = _trials("xor", 64, {"steps": 300})
    cases: list[tuple[str, Callable[[], list[Training]], int, float, float]] = [
        ("16 digits trials, five activations, 600 steps", digits, _STEPS, 1.5, 4),
        ("64 xor trials, three activations, 300 steps", xor, 300, 30, 30),
    ]
    for name, make, steps, target, compiled in cases:
        rivals = {"eager": _one_after_the_other(make, steps), "lyapopt": _together(make, steps)}
        if compiles:
            rivals["compiled"] = _together(make, steps, "on")
        timings = interleave(rivals, rounds, 0.0)
        for rival, least in (("lyapopt", target), ("compiled", compiled)):
            if rival in rivals:
                yield Row(
                    "a group" if rival == "lyapopt" else "a compiled group",
                    name,
                    timings.ratio("eager", rival),
                    least,
                    detail=timings.medians("eager", rival, unit="s"),
                )


def emptied_rows(rounds: int) -> Iterator[Row]:
    """A step of what is left of a stack, in that of the whole: what ended rows save.

    Near 0.25 the rows cost, and those that have ended cost nothing; near 1 a step costs, however
    many rows it has, and new trials in their places would come for free.
    """
    for task, options in (("digits", {"hidden": [32, 32]}), ("xor", {})):
        trainings = _trials(task, 16, {"steps": _STEPS, **options})()
        [(_, whole)] = stack(trainings, compile="off")
        rivals = {"16": _steps_of(whole), "4": _steps_of(whole.select(range(0, 16, 4)))}
        timings = interleave(rivals, rounds, 0.05)
        yield Row(
            "ended rows",
            f"{task}: a step with 4 rows left / with 16",
            timings.ratio("4", "16"),
            detail=timings.medians("4", "16", unit="us"),
        )


def _steps_of(step: AnyTrainingMap) -> Work:
    state = step.initial_state()

    def work() -> float:
        z = state
        for t in range(20):
            z, _ = step.step_with_losses(z, t)
        return 20.0

    return work


def _trials(task: str, count: int, options: dict[str, Any]) -> Callable[[], list[Training]]:
    build = TaskBuilder(task, options, dtype=torch.float32)
    activations = _ACTIVATIONS if task == "digits" else _ACTIVATIONS[:3]

    def make() -> list[Training]:
        return [
            build(
                {
                    "activation": activations[k % len(activations)],
                    "lr": 0.01 * 1.2**k if task == "digits" else 0.01 * 1.05**k,
                    "init_seed": k,
                }
            )
            for k in range(count)
        ]

    return make


def _one_after_the_other(make: Callable[[], list[Training]], steps: int) -> Work:
    rivals = [eager(training, steps) for training in make()]

    def work() -> float:
        for rival in rivals:
            rival()
        return 1.0

    return work


def _together(make: Callable[[], list[Training]], steps: int, compile: Compile = "off") -> Work:
    trainings = make()

    def work() -> float:
        for _, step in stack(trainings, compile=compile):  # reading them is part of the price
            z = step.initial_state()
            for t in range(steps):
                z, _ = step.step_with_losses(z, t)
        return 1.0

    return work
