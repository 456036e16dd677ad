"""What a trial has cost, in the trial's own attributes."""

from __future__ import annotations

from lyapopt.search import attributes
from lyapopt.search._optuna import frozen
from lyapopt.search.candidate import Candidate
from lyapopt.search.probing.records import ScreeningRecord, SteeringRecord


def charge_probes(candidate: Candidate) -> None:
    """Add the cost of the probes that a sampler has made for a trial, once."""
    if candidate.steering is not None or candidate.screening is not None:
        return
    stored = frozen(candidate.trial)
    candidate.steering = SteeringRecord.of_trial(stored)
    candidate.screening = ScreeningRecord.of_trial(stored)
    for probes in (candidate.steering, candidate.screening):
        if probes is not None:
            candidate.gradient_evaluations += probes.gradient_evaluations
            candidate.measuring += probes.gradient_evaluations
            candidate.examples += probes.examples


def show_cost(candidate: Candidate) -> None:
    """Write what a trial has cost so far, and what of it measuring has, to its user attributes."""
    if candidate.measuring > 0:
        measuring = attributes.rounded(candidate.measuring)
        attributes.show(candidate.trial, attributes.MEASURING, measuring)
    cost = attributes.rounded(candidate.gradient_evaluations)
    attributes.show(candidate.trial, attributes.COST, cost)
