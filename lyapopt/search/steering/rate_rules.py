"""What is tried of one rate, and from when on it is too hot: by the exponent, or by the loss.

Which of the two was chosen on held-in networks, at equal cost, and frozen on 2026-11-26; what came
of it on held-out ones is in `studies/RESULTS.md` (`lyapopt bench rates --full`).

Gradient descent with or without momentum has a sharp edge, beyond which a training that begins well
comes to nothing: there the exponent of 8 steps sees what the loss does not. Adam and its like
divide by the size of their gradients, which blurs the edge, and their first steps from empty
moments separate anything: there 16 steps of the loss say more. Where the loss hardly falls, on a
plateau, neither is known.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Literal

import numpy as np
import torch

from lyapopt.dynamics import Training, stack
from lyapopt.errors import PrecisionError
from lyapopt.probe import Probe, Verdict, reference_of
from lyapopt.search.steering.growth import settled_exponent

RuleName = Literal["exponent", "loss"]
ADAPTIVE: Final = ("Adam", "AdamW", "NAdam", "RAdam", "Adamax", "Adafactor", "Adagrad", "RMSprop")
"""Optimisers whose rates are judged by the loss."""
TARGET: Final = 0.003
"""Nats per step over the second half of 8 steps, from which a rate is too hot."""

_USUAL: Final = {"SGD": 0.1, "momentum": 0.03, **dict.fromkeys(ADAPTIVE, 0.003)}
_OTHER = 0.01
STEPS: Final = 8
"""Steps beside a neighbour, at one rate."""

_GRADIENTS, _FEWEST = 2 * STEPS, 8  # at one rate
_RATES = 5  # that a budget should suffice for
_BLOW_UP = 1.5  # times the losses at the smallest rate, on the same batches
_RISE = 0.02  # of the lowest loss at a smaller rate
_SLOW = 0.01
_MARGIN = 1 / 4  # decades that the loss is trusted less: it looks no further than 16 steps


def usual_rate(optimizer: str) -> float:
    """Where rates of an optimiser usually lie (see `optimizer_name`)."""
    return _USUAL.get(optimizer, _OTHER)


@dataclass(frozen=True)
class Tried:
    """What the first steps at one rate came to.

    Attributes:
        losses: At every step, `(steps,)`.
        verdict: `diverged`, `dead`, or whatever else.
        gradient_evaluations: Cost.
        exponent: Nats per step, after the perturbation has turned; NaN where none was measured.
    """

    losses: np.ndarray[tuple[int], np.dtype[np.float64]]
    verdict: Verdict
    gradient_evaluations: float
    exponent: float = math.nan

    @property
    def late(self) -> float:
        """Mean loss over the second half of the steps."""
        return float(self.losses[len(self.losses) // 2 :].mean())

    @property
    def is_slow(self) -> bool:
        """Whether the loss fell by less than 1 %, from the first step and between halves.

        So it is on a plateau, beyond which the curvature and with it the edge may be others.
        """
        first = abs(float(self.losses[0]))
        early = float(self.losses[: len(self.losses) // 2].mean())
        return max(early, float(self.losses[0])) - self.late < _SLOW * first


@dataclass(frozen=True)
class ByExponent:
    """A rate is too hot if a neighbour separates from it too fast, or its loss blows up.

    Attributes:
        steps: Steps at a rate.
        target: Nats per step.
    """

    steps: int
    target: float
    name: ClassVar[RuleName] = "exponent"
    margin: ClassVar[float] = 0.0

    def cost(self, training: Training) -> float:
        """As `Probe` has it."""
        probe = self._probe
        if reference_of(training, probe).estimator == "tangent":
            return (2 * probe.neighbours + 1) * self.steps + 7
        return (probe.neighbours + 1) * self.steps

    def tried(self, training: Training) -> Tried:
        """Steps beside one neighbour, in float64 where that is possible."""
        [found] = self._probe.measure([training])
        return Tried(
            found.losses, found.verdict, found.gradient_evaluations, settled_exponent(found)
        )

    def is_hot(self, rate: float, tried: Mapping[float, Tried]) -> bool:
        """By exponent, verdict, and losses on the same batches at the smallest rate."""
        one, smallest = tried[rate], tried[min(tried)]
        if one.verdict in (Verdict.DIVERGED, Verdict.HOT) or not one.exponent < self.target:
            return True
        usual = np.abs(smallest.losses)
        usual = usual.max() if smallest.exponent < self.target else usual[0]
        return not np.abs(one.losses).max() <= _BLOW_UP * usual

    @property
    def _probe(self) -> Probe:
        return Probe(horizon=self.steps)


@dataclass(frozen=True)
class ByLoss:
    """A rate is too hot if a smaller one has lowered the loss more.

    Attributes:
        steps: Steps at a rate.
        margin: Decades between the largest rate that is not too hot, and the answer.
    """

    steps: int
    name: ClassVar[RuleName] = "loss"
    target: ClassVar[float] = math.nan
    margin: ClassVar[float] = _MARGIN

    def cost(self, training: Training) -> float:
        """One gradient evaluation a step."""
        return self.steps

    def tried(self, training: Training) -> Tried:
        """Steps of the training alone, in float64 where that is possible."""
        with contextlib.suppress(PrecisionError):
            training = reference_of(training, Probe()).training
        [(_, step)] = stack([training], compile="off")
        z0 = z = step.initial_state()
        losses = np.full(self.steps, math.nan)
        for t in range(self.steps):
            z, loss = step.step_with_losses(z, t)
            losses[t] = float(loss[0, 0])
        is_finite = bool(np.isfinite(losses).all() and torch.isfinite(z).all())
        stays = torch.equal(step.weights(z), step.weights(z0))
        verdict = Verdict.DEAD if stays else Verdict.EDGE if is_finite else Verdict.DIVERGED
        return Tried(losses, verdict, float(self.steps))

    def is_hot(self, rate: float, tried: Mapping[float, Tried]) -> bool:
        """By the lowest loss among smaller rates."""
        one = tried[rate]
        lower = [each.late for smaller, each in tried.items() if smaller < rate]
        if one.verdict == Verdict.DIVERGED:
            return True
        best = min((each for each in lower if math.isfinite(each)), default=math.inf)
        return one.late > best + _RISE * abs(best)


RateRule = ByExponent | ByLoss
"""How rates are tried and judged."""


def rule_of(optimizer: str, target: float | None, budget: int) -> RateRule:
    """The rule for an optimiser: by the exponent where a target is given.

    Args:
        optimizer: Its name.
        target: Nats per step.
        budget: Gradient evaluations that may be spent.
    """
    gradients = min(_GRADIENTS, max(_FEWEST, budget // _RATES))
    if target is None and optimizer in ADAPTIVE:
        return ByLoss(gradients)
    return ByExponent(gradients // 2, target or TARGET)
