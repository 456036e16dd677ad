"""Ways to a learning rate for one network: ours, the range test, a few fixed rates, and none."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np

from lyapopt.bench import Numbers
from lyapopt.bench.range_test import (
    STEPS,
    rising_losses,
    step_of_lowest_loss,
    step_of_steepest_descent,
    step_of_valley,
)
from lyapopt.bench.tables.cases import spaced
from lyapopt.dynamics import Training, stack
from lyapopt.search import steer
from lyapopt.search.probing.probes import optimizer_name
from lyapopt.search.steering.rate_rules import usual_rate

LOW, HIGH = 1e-5, 10.0
"""The range that all of them look in."""
_FIXED, _FIXED_STEPS = 8, 8


@dataclass
class Line:
    """One network, whose rate is looked for.

    Attributes:
        make: The training at a rate.
        rates: Those of the grid.
        steps: Of a full training.
    """

    make: Callable[[float], Training]
    rates: tuple[float, ...]
    steps: int

    @cached_property
    def rising(self) -> Numbers:
        """Losses of the range test, `(STEPS,)`."""
        growth = (HIGH / LOW) ** (1 / (STEPS - 1))
        training = dataclasses.replace(self.make(LOW), scheduler=None)
        losses: Numbers = rising_losses([training], [growth**k for k in range(STEPS)], "off")[0]
        return losses

    def rate_of_step(self, step: int) -> float:
        """The rate of a step of the range test."""
        return float(LOW * (HIGH / LOW) ** (step / (STEPS - 1)))


Choice = tuple[float, float]
"""A rate, and what it cost in gradient evaluations."""


def _find_lr(line: Line) -> Choice:
    found = steer(lambda params: line.make(params["lr"]), low=LOW, high=HIGH, steps=line.steps)
    return found.rate, found.gradient_evaluations


def _lowest(line: Line) -> Choice:
    return max(LOW, line.rate_of_step(step_of_lowest_loss(line.rising)) / 10), STEPS


def _steepest(line: Line) -> Choice:
    return line.rate_of_step(step_of_steepest_descent(line.rising)), STEPS


def _valley(line: Line) -> Choice:
    return line.rate_of_step(step_of_valley(line.rising)), STEPS


def _usual(line: Line) -> Choice:
    return usual_rate(optimizer_name(line.make(LOW).optimizer)), 0.0


def _fixed(line: Line) -> Choice:
    """The rate with the lowest loss over the second half of a few steps."""
    rates = spaced(1e-4, HIGH, _FIXED)
    late = np.full(len(rates), np.inf)
    trainings = [dataclasses.replace(line.make(rate), scheduler=None) for rate in rates]
    for rows, step in stack(trainings, compile="off"):
        z, losses = step.initial_state(), []
        for t in range(_FIXED_STEPS):
            z, loss = step.step_with_losses(z, t)
            losses.append(loss[:, 0].cpu().numpy())
        late[rows] = np.mean(losses[_FIXED_STEPS // 2 :], axis=0)
    return rates[int(np.where(np.isfinite(late), late, np.inf).argmin())], _FIXED * _FIXED_STEPS


OURS: Final = "find_lr"
FINDERS: Final[Mapping[str, Callable[[Line], Choice]]] = {
    OURS: _find_lr,
    "range test, lowest / 10": _lowest,
    "range test, valley": _valley,
    "range test, steepest": _steepest,
    f"best of {_FIXED} after {_FIXED_STEPS} steps": _fixed,
    "usual rate of the optimizer": _usual,
}
