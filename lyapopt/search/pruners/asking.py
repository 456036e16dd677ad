"""Asking a study's pruner about a trial that is running, and keeping what it decided."""

from __future__ import annotations

import dataclasses

import optuna
from optuna.trial import BaseTrial

from lyapopt.search._optuna import frozen_in_memory
from lyapopt.search.pruners.decision import decides, decisions_of
from lyapopt.search.pruners.lyapunov import LyapunovPruner
from lyapopt.store import Decision


def ask_pruner(trial: optuna.Trial) -> list[Decision]:
    """Ask the pruner about what was reported last: once a report, since some keep books.

    Returns:
        What was decided. If the trial is to be pruned, a decision that says so is among it.
    """
    should_prune = trial.should_prune()
    return decisions_of(trial.study.pruner, frozen_in_memory(trial), should_prune)


def ask_rules(trial: optuna.Trial, step: int) -> list[Decision]:
    """Ask the rules of our own pruners, which read what was measured and need no report.

    With several objectives, where Optuna has no pruning, that of a `LyapunovPruner` alone.

    Args:
        trial: A running trial.
        step: How many steps it has trained.
    """
    found: list[Decision] = []
    pruner = trial.study.pruner
    is_single = len(trial.study.directions) == 1
    while decides(pruner):
        if is_single or isinstance(pruner, LyapunovPruner):
            decision = pruner.decide(trial.study, frozen_in_memory(trial))
            if decision is not None:
                found.append(dataclasses.replace(decision, step=step))
        pruner = pruner.wrapped
    return found


class StopSignal:
    """Whether a trial that trains in a loop of the user's own should stop.

    The loop may ask at every step: the pruner is asked when there is something new, after the
    measurement and after each report. Once it has said to stop, that stays.

    Args:
        trial: Any trial. One that belongs to no study never says to stop: Optuna's own do not.

    Attributes:
        decisions: What was decided, in the order in which it was.
    """

    def __init__(self, trial: BaseTrial) -> None:
        self.decisions: list[Decision] = []
        self._trial = trial
        self._reports = 0
        self._asked_rules = False

    @property
    def reason(self) -> str | None:
        """Why to stop, or `None` while there is no reason to."""
        return next((each.reason for each in self.decisions if each.pruned), None)

    def ask(self, step: int, is_measured: bool) -> bool:
        """Ask the pruner, if there is something new.

        Args:
            step: Steps that were trained.
            is_measured: Whether the exponent is known.
        """
        trial = self._trial
        if not isinstance(trial, optuna.Trial):
            return bool(trial.should_prune())
        if self.reason is None:
            reports = len(frozen_in_memory(trial).intermediate_values)
            if reports > self._reports:
                self._reports = reports
                self._asked_rules = is_measured
                self.decisions += ask_pruner(trial)
            elif is_measured and not self._asked_rules:
                self._asked_rules = True
                self.decisions += ask_rules(trial, step)
        return self.reason is not None
