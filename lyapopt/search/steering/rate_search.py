"""A learning rate for one network within a few gradients: the core of `find_lr` and `steer`.

One rate is tried after the other, from the same weights and on the same batches: first where rates
of this optimiser usually lie, then by whole decades until one is too hot and one is not, then by
bisection. `rate_rules` says what too hot is.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import numpy as np

from lyapopt.display import one_line
from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.probe import Verdict
from lyapopt.search.probing.probes import SteeringFailedError
from lyapopt.search.steering.found_rate import COLUMNS, FoundStatus, Steering
from lyapopt.search.steering.rate_rules import RateRule, Tried, usual_rate
from lyapopt.search.steering.search_line import Axis, Point, SearchLine

if TYPE_CHECKING:
    import pandas as pd

GRADIENTS: Final = 300
"""Gradient evaluations that a search spends at most."""
SHARE: Final = 4
"""One part in so many of a training's steps is spent at most."""

_TOO_FEW = "{} gradients are too few to measure at any rate: {:.3g} is what is usual, and no more"
_DEAD = "nothing moves at any rate, as where all units are dead: {:.3g} is as good as another"
_COLD = "no rate up to {:.3g} is too hot: the best may lie beyond; give a higher `high`"
_HOT = "already {:.3g} is too hot: the best may lie below; give a lower `low`"
_DIVERGED = "every rate down to {:.3g} diverges: look at the loss and at the scale of the inputs"
_OPEN = "{} gradients did not suffice to see where rates become too hot: the best may lie {}"

_SLOW = (
    "at {:.3g}, the edge, the loss hardly falls in so few steps: beyond such a plateau the edge "
    "may be far lower. The rate is half way, as a ratio, between it and what is usual"
)

_log = logging.getLogger(__name__)


def budget_of(steps: int | None) -> int:
    """Gradient evaluations that may be spent on a training of so many steps.

    Example:
        >>> budget_of(None), budget_of(400), budget_of(100_000)
        (300, 100, 300)
    """
    return GRADIENTS if steps is None else min(GRADIENTS, steps // SHARE)


@dataclass
class RateSearch:
    """The search for one network.

    Args:
        where: Whose search it is, for messages.
        at: The training at a rate, without a schedule.
        axis: The range of rates.
        budget: Gradient evaluations that may be spent.
        optimizer: Name of the optimiser.
        rule: How rates are tried and judged.
        name: The rate's name.
    """

    where: str
    at: Callable[[float], Training]
    axis: Axis
    budget: int
    optimizer: str
    rule: RateRule
    name: str = "lr"
    spent: float = 0.0
    tried: dict[float, Tried] = field(default_factory=dict)
    failed: dict[float, Exception | SystemExit] = field(default_factory=dict)
    _cost: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        start = self.axis.coordinate(usual_rate(self.optimizer))
        self.line = SearchLine(self.axis, 0.0, guess=start, stride=self.axis.decade)

    def run(self, notes: tuple[str, ...] = ()) -> Steering:
        """Measure until the bracket is narrow or the budget is spent.

        Args:
            notes: What is known to be not known.

        Raises:
            SteeringFailedError: If nothing could be measured, or the loss is not finite from the
                start.
            TrainingError: If a training cannot be trained as given.
        """
        while values := self.line.next_values(1):
            if not self._try(float(values[0])):
                break
            self._judge()
        if self.failed and not self.tried:
            rate, error = next(iter(self.failed.items()))
            text = f"{self.where} at {self.name}={rate:.4g}: {type(error).__name__}: {error}"
            raise SteeringFailedError(one_line(text)) from error
        return self._found(notes)

    def _try(self, rate: float) -> bool:
        """Try one rate, if that can be paid.

        Raises:
            SteeringFailedError: If its loss is not finite from the start.
        """
        training = self.at(rate)
        self._cost = self._cost or self.rule.cost(training)
        if self.spent + self._cost > self.budget:
            return False
        try:
            tried = self.tried[rate] = self.rule.tried(training)
            self.spent += tried.gradient_evaluations
        except UserError:
            raise
        except (Exception, SystemExit) as error:  # a loss that refuses NaN, say
            self.failed[rate] = error
            self.spent += self._cost
        else:
            if not math.isfinite(tried.losses[0]):
                text = f"{self.where}: the loss before the first step is not finite"
                raise SteeringFailedError(text)
        return True

    def _judge(self) -> None:
        """Place all rates on the line anew: what one is compared with may have changed."""
        points = []
        for rate in (*self.tried, *self.failed):
            is_hot = rate in self.failed or self.rule.is_hot(rate, self.tried)
            verdict = Verdict.DIVERGED if rate in self.failed else self.tried[rate].verdict
            exponent = math.inf if is_hot else -math.inf
            points.append(Point(rate, self.axis.coordinate(rate), exponent, verdict, is_hot))
        self.line.points = []
        self.line.add(points)

    def _found(self, notes: tuple[str, ...]) -> Steering:
        status, rate, note = self._answer()
        for each in (*notes, *note):
            _log.warning("%s: %s", self.where, each)
        return Steering(
            rate=float(rate),
            status=status,
            rule=self.rule.name,
            target=self.rule.target,
            table=self._table(),
            gradient_evaluations=self.spent,
            name=self.name,
            notes=(*notes, *note),
        )

    def _answer(self) -> tuple[FoundStatus, float, tuple[str, ...]]:
        """Status, rate, and what cannot be known."""
        line, axis = self.line, self.axis
        lowest, highest = axis.value(axis.low), axis.value(axis.high)
        usual = min(max(usual_rate(self.optimizer), lowest), highest)
        if not line.points:
            return "unknown", usual, (_TOO_FEW.format(self.budget, usual),)
        if line.status == "dead":
            return "dead", usual, (_DEAD.format(usual),)
        cold, hot = line.ends()
        if cold is not None and self._is_on_a_plateau(float(cold.value), usual):
            edge = float(cold.value)
            return "slow", math.sqrt(edge * usual), (_SLOW.format(edge),)
        if cold is not None and hot is not None:
            margin = self.rule.margin * axis.decade
            return "crossed", float(axis.value(cold.coordinate - margin)), ()
        if hot is None:
            assert cold is not None
            if cold.coordinate >= axis.high:
                return "cold", float(cold.value), (_COLD.format(float(cold.value)),)
            return "unknown", float(cold.value), (_OPEN.format(self.budget, "above"),)
        if hot.coordinate <= axis.low:
            has_diverged = all(p.verdict == Verdict.DIVERGED for p in line.points)
            text = _DIVERGED if has_diverged else _HOT
            return "hot", float(hot.value), (text.format(float(hot.value)),)
        below = axis.value(hot.coordinate - axis.decade)
        return "unknown", float(below), (_OPEN.format(self.budget, "below"),)

    def _is_on_a_plateau(self, edge: float, usual: float) -> bool:
        """Whether the edge is that of a plateau, and lies where it would do harm if it fell."""
        by_exponent = self.rule.name == "exponent"
        return by_exponent and edge > usual and self.tried[edge].is_slow

    def _table(self) -> pd.DataFrame:
        """One row a rate, ascending."""
        import pandas as pd  # slow to import, and samplers import this module

        order = {rate: k for k, rate in enumerate((*self.tried, *self.failed), 1)}
        rows = []
        for point in self.line.points:
            rate = float(point.value)
            one = self.tried.get(rate) or Tried(np.full(1, math.nan), point.verdict, 0.0)
            is_known = one.verdict != Verdict.DIVERGED and math.isfinite(one.exponent)
            first = float(one.losses[0])
            rows.append(
                {
                    "rate": rate,
                    "exponent": one.exponent if is_known else math.nan,
                    "fall": (first - one.late) / abs(first) if first else math.nan,
                    "loss": one.late,
                    "verdict": str(one.verdict),
                    "is_hot": point.has_blown_up,
                    "round": order[rate],
                }
            )
        return pd.DataFrame(rows, columns=list(COLUMNS))
