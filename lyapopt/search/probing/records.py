"""What the probes of a trial found, kept in its user attributes so that it outlives the process."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from optuna.trial import FrozenTrial

from lyapopt.probe import Measurement
from lyapopt.search.attributes import rounded
from lyapopt.search.probing.building import Params

STEERING: Final = "lyapopt:steering"
"""User attribute of a trial: the probes of its search line, as plain JSON."""
SCREENING: Final = "lyapopt:screening"
"""User attribute of a trial: its candidates with what was measured of them, as plain JSON."""

DRAWN: Final = "drawn"
"""Status of a rate that was drawn above cached edges, without probes."""
FALLBACK: Final = "fallback"
"""Status of a rate that the study's own sampler drew, since it could not be steered."""


@dataclass(frozen=True)
class SteeringRecord:
    """How a trial's rate was found.

    Attributes:
        name: The steered parameter.
        value: What was chosen.
        exponent: The exponent there as steering sees it, nats per step; `None` where there is none.
        target: The exponent that was aimed at.
        status: `crossed`, `cold`, `hot` or `dead`; `drawn` where nothing was probed, `fallback`
            where the study's sampler drew the rate.
        edge: The rate at the crossing, if there is one.
        optimizer: Class of the optimiser (`SGD`, `momentum`, `Adam`, ...): targets differ.
        gradient_evaluations: Cost of all probes.
        examples: Examples they were computed on.
        probes: Rate, exponent and verdict of each, ascending.
        line: The other parameters without the seeds: what search lines that differ in their seeds
            alone have in common.
        rounds: In which round each was probed, 1 for the first; empty in records of before.
        reason: Why it was not steered, of a `fallback`.
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
    rounds: tuple[int, ...] = ()
    reason: str = ""

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
            "rounds": list(self.rounds),
            **({"reason": self.reason} if self.reason else {}),
        }

    @classmethod
    def of_trial(cls, trial: FrozenTrial) -> SteeringRecord | None:
        """The record that a trial carries, if it was steered."""
        found: Mapping[str, Any] | None = trial.user_attrs.get(STEERING)
        if not isinstance(found, Mapping):
            return None
        try:
            probes = tuple((float(v), e, str(verdict)) for v, e, verdict in found["probes"])
            rounds = tuple(int(each) for each in found.get("rounds", ()))
            record = cls(**{**found, "probes": probes, "rounds": rounds})
            _check_numbers(record.gradient_evaluations, record.examples, record.value)
            _check_numbers(record.target)
            return record
        except (KeyError, TypeError, ValueError):
            return None  # somebody else's attribute of that name


@dataclass(frozen=True)
class ScreenedCandidate:
    """One candidate and what its probe found; `None` where it could not be probed.

    Attributes:
        params: Its parameters.
        exponent: Nats per step.
        initial_loss: Loss before the first step.
        early_loss: Mean loss over the last quarter of the horizon.
        verdict: The probe's, or `failed`.
    """

    params: Params
    exponent: float | None
    initial_loss: float | None
    early_loss: float | None
    verdict: str

    @classmethod
    def of(cls, params: Params, measurement: Measurement | None) -> ScreenedCandidate:
        """What a measurement says of a candidate."""
        if measurement is None:
            return cls(params, None, None, None, "failed")
        losses = measurement.losses
        late = float(np.mean(losses[-max(1, len(losses) // 4) :]))
        return cls(
            params,
            _plain(measurement.exponent),
            _plain(float(losses[0])),
            _plain(late),
            str(measurement.verdict),
        )


@dataclass(frozen=True)
class ScreeningRecord:
    """How a trial's parameters were chosen.

    Attributes:
        rule: Name of the rule.
        chosen: Which candidate; `None` if the rule failed.
        candidates: All of them.
        gradient_evaluations: Cost of all probes.
        examples: Examples they were computed on.
    """

    rule: str
    chosen: int | None
    candidates: tuple[ScreenedCandidate, ...]
    gradient_evaluations: float
    examples: int

    def as_attribute(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "rule": self.rule,
            "chosen": self.chosen,
            "gradient_evaluations": self.gradient_evaluations,
            "examples": self.examples,
            "candidates": [
                [dict(c.params), c.exponent, c.initial_loss, c.early_loss, c.verdict]
                for c in self.candidates
            ],
        }

    @classmethod
    def of_trial(cls, trial: FrozenTrial) -> ScreeningRecord | None:
        """The record that a trial carries, if it was screened."""
        found = trial.user_attrs.get(SCREENING)
        if not isinstance(found, Mapping):
            return None
        try:
            candidates = tuple(ScreenedCandidate(*row) for row in found["candidates"])
            record = cls(**{**found, "candidates": candidates})
            _check_numbers(record.gradient_evaluations, record.examples)
            return record
        except (KeyError, TypeError):
            return None  # somebody else's attribute of that name


def _check_numbers(*values: object) -> None:
    """Raise a `TypeError` if one is none: this is no record of ours."""
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise TypeError(f"{value!r} is no number")


def _plain(number: float | None) -> float | None:
    return rounded(number) if number is not None and math.isfinite(number) else None
