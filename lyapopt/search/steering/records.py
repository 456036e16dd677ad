"""What is kept of the steering of one trial: in its user attributes, so that it outlives us."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from optuna.trial import FrozenTrial

from lyapopt.search.attributes import rounded

STEERING: Final = "lyapopt:steering"
"""User attribute of a trial: its probes, as plain JSON."""


DRAWN: Final = "drawn"
"""Status of a rate that was drawn around edges that are known, without probes."""


@dataclass(frozen=True)
class SteeringRecord:
    """How a trial's rate was found.

    Attributes:
        name: The steered parameter.
        value: What was chosen.
        exponent: The exponent there as steering sees it, nats per step; `None` where there is none.
        target: The exponent that was aimed at.
        status: `crossed`, `cold`, `hot` or `dead`; `drawn` where nothing was probed.
        edge: The rate at the crossing, if there is one.
        optimizer: Class of the optimiser (`SGD`, `momentum`, `Adam`, ...): targets differ.
        gradient_evaluations: Cost of all probes.
        examples: Examples they were computed on.
        probes: Rate, exponent and verdict of each, ascending.
        line: The other parameters without the seeds: lines that have it in common are alike.
    """

    name: str
    value: int | float
    exponent: float | None
    target: float
    status: str
    edge: float | None
    optimizer: str
    gradient_evaluations: float
    examples: int
    probes: tuple[tuple[float, float | None, str], ...]
    line: str = ""

    def as_attribute(self) -> dict[str, Any]:
        """JSON without NaN, numbers rounded to six digits."""
        return {
            "name": self.name,
            "value": self.value,
            "exponent": _plain(self.exponent),
            "target": rounded(self.target),
            "status": self.status,
            "edge": _plain(self.edge),
            "optimizer": self.optimizer,
            "gradient_evaluations": self.gradient_evaluations,
            "examples": self.examples,
            "probes": [[v, _plain(e), str(verdict)] for v, e, verdict in self.probes],
            "line": self.line,
        }

    @classmethod
    def of_trial(cls, trial: FrozenTrial) -> SteeringRecord | None:
        """The record that a trial carries, if it was steered."""
        found: Mapping[str, Any] | None = trial.user_attrs.get(STEERING)
        if not isinstance(found, Mapping):
            return None
        try:
            probes = tuple((float(v), e, str(verdict)) for v, e, verdict in found["probes"])
            return cls(**{**found, "probes": probes})
        except (KeyError, TypeError, ValueError):
            return None  # somebody else's attribute of that name


def _plain(number: float | None) -> float | None:
    return rounded(number) if number is not None and math.isfinite(number) else None
