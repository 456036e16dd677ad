"""What Optuna is shown of a trial while it trains, and what its pruner decides."""

from __future__ import annotations

import math

import torch

from lyapopt.dynamics.precision import precision_of
from lyapopt.search import attributes
from lyapopt.search._optuna import frozen_in_memory
from lyapopt.search.candidate import Candidate, Outcome
from lyapopt.search.pruners.asking import ask_pruner, ask_rules
from lyapopt.search.pruners.decision import reads_initial_loss
from lyapopt.store import Decision

_DIVERGED = 10.0  # nats per step above the threshold: what a run counts as that has no exponent


class Unobserved:
    """A listener for trials that belong to no study: nothing is shown, and nothing ends early."""

    def measured(self, candidate: Candidate) -> None:
        """The probe is done."""

    def evaluated(self, candidate: Candidate, value: float) -> None:
        """A value came in."""

    def lets_through(self, candidate: Candidate) -> bool:
        """Everything is trained to its end."""
        return True


class Reporter:
    """Writes measurements and values of a group's trials to Optuna, and asks the pruner.

    Args:
        constrain_hot: Exponent above which a trial breaks the constraint `not hot`, nats per step;
            `None` sets no constraint.
    """

    def __init__(self, constrain_hot: float | None) -> None:
        self._constrain_hot = constrain_hot

    @property
    def constrains(self) -> bool:
        """Whether every trial is given a constraint, which its exponent decides."""
        return self._constrain_hot is not None

    def measured(self, candidate: Candidate) -> None:
        """Show the measurement in the trial's user attributes."""
        assert candidate.measurement is not None
        trial = candidate.trial
        for name, value in attributes.of_measurement(candidate.measurement).items():
            attributes.show(trial, name, value)
        if self._constrain_hot is not None:
            exponent = candidate.measurement.exponent
            excess = exponent - self._constrain_hot if math.isfinite(exponent) else _DIVERGED
            trial.set_constraint("not hot", excess)
        # One attribute more costs one commit more: only where the precision is another one.
        training, is_of_losses = candidate.training, candidate.measurement.is_of_losses
        if training is not None and precision_of(training) != torch.float64 and not is_of_losses:
            attributes.show(trial, attributes.MEASURED, candidate.measurement.measured)
        # And this one only for the pruner that reads it.
        if reads_initial_loss(trial.study.pruner):
            loss = attributes.rounded(float(candidate.measurement.losses[0]))
            attributes.show(trial, attributes.INITIAL_LOSS, loss)

    def evaluated(self, candidate: Candidate, value: float) -> None:
        """Report a value, and end the trial if the pruner says so."""
        trial = candidate.trial
        if len(trial.study.directions) > 1:
            _note(candidate, ask_rules(trial, candidate.steps))
            return
        if candidate.verdict != frozen_in_memory(trial).user_attrs.get(attributes.VERDICT):
            attributes.show(trial, attributes.VERDICT, str(candidate.verdict))  # it has blown up
        if candidate.has_blown_up:  # such a value would flatten every plot of the study
            _note(candidate, ask_rules(trial, candidate.steps))
            return
        trial.report(value, candidate.steps)
        _note(candidate, ask_pruner(trial))

    def lets_through(self, candidate: Candidate) -> bool:
        """Whether the pruner's own rule has nothing against a trial."""
        decisions = ask_rules(candidate.trial, candidate.steps)
        return not any(decision.pruned for decision in decisions)


def _note(candidate: Candidate, decisions: list[Decision]) -> None:
    """Keep what was decided of a candidate, and end it if it is to be pruned."""
    candidate.decisions += decisions
    for decision in decisions:
        if decision.pruned:
            candidate.outcome = Outcome("pruned", reason=decision.reason)
            return
