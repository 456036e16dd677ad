"""The exponent that steering aims at: fixed, or learned from the trials that did best.

The best target depends on the optimiser and on the horizon, so that it is learned: an evolution
strategy in log space. Each trial aims at the centre times a random factor; the centre is the mean
of the prior and of the targets of the best finished trials.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
import optuna
import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from lyapopt.dynamics.randomness import generator
from lyapopt.search.probing.records import SteeringRecord

PRIORS: Final = {"SGD": 0.003, "momentum": 0.003, "Adam": 0.03, "AdamW": 0.03, "RMSprop": 0.015}
"""Nats per step at horizons of 10 to 20, by name of the optimiser: measured on small networks."""

_OTHER = 0.005
_PRIOR_WEIGHT = 2.0  # trials that the prior counts as
_ELITE = 0.25  # share of finished trials that the centre moves to
_SPREAD = 0.25  # standard deviation of the random factor's logarithm
_LOWEST, _HIGHEST = 3e-4, 0.3

_Entry = tuple[SteeringRecord, tuple[float, ...]] | None


def prior_target(optimizer: str) -> float:
    """The target that was measured to be good for an optimiser, nats per step.

    Args:
        optimizer: Its name (see `optimizer_name`).
    """
    return PRIORS.get(optimizer, _OTHER)


def adaptive_target(history: Sequence[SteeringRecord], optimizer: str, *key: int) -> float:
    """The target of the next trial, nats per step.

    Args:
        history: Records of finished trials, best first.
        optimizer: Name of the optimiser (see `optimizer_name`).
        key: What the random factor follows from: seed and trial number.

    Example:
        >>> round(adaptive_target([], "SGD", 0, 0) / PRIORS["SGD"], 1) > 0
        True
    """
    centre = target_centre(history, optimizer)
    noise = float(torch.randn((), generator=generator(*key, "target"), dtype=torch.float64))
    return min(max(centre * math.exp(_SPREAD * noise), _LOWEST), _HIGHEST)


def target_centre(history: Sequence[SteeringRecord], optimizer: str) -> float:
    """Where targets have moved to, nats per step."""
    alike = [record for record in history if _counts(record, optimizer)]
    elite = alike[: math.ceil(_ELITE * len(alike))]
    logs = [math.log(_met(record)) for record in elite]
    prior = math.log(prior_target(optimizer))
    return math.exp((_PRIOR_WEIGHT * prior + sum(logs)) / (_PRIOR_WEIGHT + len(logs)))


class History:
    """Records of the complete trials of studies; each is read once, since it does not change."""

    def __init__(self) -> None:
        self._known: dict[str, dict[int, _Entry]] = {}

    def ranked(self, study: optuna.Study) -> list[SteeringRecord]:
        """The records of a study, best first.

        With several objectives it is the sum of the ranks in each that counts.
        """
        known = self._known.setdefault(study.study_name, {})
        trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        for trial in trials:
            if trial.number not in known:
                known[trial.number] = _entry(trial)
        found = [entry for trial in trials if (entry := known[trial.number]) is not None]
        if not found:
            return []
        signs = [-1 if d == StudyDirection.MAXIMIZE else 1 for d in study.directions]
        values = np.array([values for _, values in found]) * signs
        ranks = values.argsort(axis=0, kind="stable").argsort(axis=0).sum(axis=1)
        return [found[i][0] for i in ranks.argsort(kind="stable")]


def _entry(trial: FrozenTrial) -> _Entry:
    """Record and values of a steered trial."""
    record = SteeringRecord.of_trial(trial)
    values = trial.values
    if record is None or values is None or any(map(math.isnan, values)):
        return None
    return record, tuple(values)


def _counts(record: SteeringRecord, optimizer: str) -> bool:
    return record.optimizer == optimizer and record.status == "crossed"


def _met(record: SteeringRecord) -> float:
    """The exponent that a trial trained at, within a factor of its target."""
    met = record.target if record.exponent is None else record.exponent
    return min(max(met, record.target / 3), record.target * 3)
