"""What is kept of the candidates that a trial was chosen from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from optuna.trial import FrozenTrial

from lyapopt.probe import Measurement
from lyapopt.search.attributes import rounded

SCREENING: Final = "lyapopt:screening"
"""User attribute of a trial: its candidates with what was measured of them, as plain JSON."""


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

    params: Mapping[str, Any]
    exponent: float | None
    initial_loss: float | None
    early_loss: float | None
    verdict: str

    @classmethod
    def of(cls, params: Mapping[str, Any], measurement: Measurement | None) -> ScreenedCandidate:
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
            return cls(**{**found, "candidates": candidates})
        except (KeyError, TypeError):
            return None  # somebody else's attribute of that name


def _plain(number: float) -> float | None:
    return rounded(number) if math.isfinite(number) else None
