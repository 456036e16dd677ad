"""What a study would do first, drawn in memory: the storage is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.precision import precision_of
from lyapopt.errors import UserError
from lyapopt.exponents import derivatives
from lyapopt.probe import Probe, Reference, reference_of
from lyapopt.probe.probe import FORWARD_COST
from lyapopt.search import Candidate, Objective
from lyapopt.search._optuna import begin_with, grid_points_left, inside_optimize, ordered
from lyapopt.search.candidate import describe
from lyapopt.search.recording.cost import charge_probes
from lyapopt.search.training_group import checkpoint_steps
from lyapopt.settings import Value
from lyapopt.study.file import StudyFile
from lyapopt.study.run import assembly, earlier
from lyapopt.study.run.leases import base_sampler
from lyapopt.study.run.schedule import Schedule

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """The first group of trials of a study.

    Attributes:
        configurations: Parameters of each trial.
        failures: Why its build function failed, for each trial; `None` where it did not.
        cost: Gradient evaluations of a trial that is trained to the end, on average of the group;
            `None` if no build succeeded.
        measured: How their exponents are measured, in words, a text for each way.
        said: What is to be known of the trials of another study that it begins with, if anything.
    """

    configurations: Sequence[Mapping[str, Any]]
    failures: Sequence[str | None]
    cost: float | None
    measured: Sequence[str] = ()
    said: str | None = None


def preview(file: StudyFile) -> Preview:
    """Draw the first group of a study, and build what it would train.

    The parameters are those that the study would begin with: they follow from its seed. Rates that
    are steered are found by probes here, too.

    Raises:
        UserError: If the file names something that cannot be used.
    """
    space = assembly.search_space(file)
    objective = assembly.objective(file, space)
    assembly.Callbacks.of(file)
    study = ordered(
        optuna.create_study(
            study_name=file.study_name,
            sampler=assembly.sampler(file, space),
            pruner=assembly.pruner(file),
            directions=list(file.all_directions),
        )
    )
    begins_with, said = earlier.expected(file, space)
    begin_with(study, begins_with)
    for params in file.enqueue:
        study.enqueue_trial(dict(params))
    count = _group_size(file, study)
    with inside_optimize(study):
        candidates = [objective.prepare(study.ask()) for _ in range(count)]
        if isinstance(objective, Objective):
            objective.steer(candidates)
    probe = Probe.of(file.probe)
    failures = [_failure(candidate) for candidate in candidates]
    costs, measured = [], []
    for row, candidate in enumerate(candidates):
        if candidate.training is None:
            continue
        try:
            reference = reference_of(candidate.training, probe)
            costs.append(
                full_cost(candidate.training, reference, probe, objective.reports, file.value)
                + _probing_cost(candidate, probe)
            )
        except UserError as error:
            failures[row] = describe(error)
        else:
            measured.append(in_words(candidate.training, reference, probe))
    return Preview(
        [dict(candidate.params) for candidate in candidates],
        failures,
        sum(costs) / len(costs) if costs else None,
        list(dict.fromkeys(measured)),
        said,
    )


def full_cost(
    training: Training, reference: Reference, probe: Probe, reports: int, value: Value
) -> float:
    """Gradient evaluations of a trial that nothing stops: probe, training, evaluations.

    Args:
        training: With its number of steps.
        reference: What its probe trains.
        probe: The measurement.
        reports: How often a trial is evaluated at most.
        value: What its value is: for an `exponent` nothing is trained beyond the probe.
    """
    has_tangents = reference.estimator == "tangent"
    separations = probe.neighbours * (2 if has_tangents else 1)
    once = derivatives.COST if has_tangents else 0
    if value == "exponent":
        return (1 + separations) * probe.horizon + once
    [(_, step)] = stack([training])
    evaluation = step.evaluate(step.initial_state())
    batches = evaluation.examples / step.batch_size
    steps = training.steps or probe.horizon
    checks = len(checkpoint_steps(probe.horizon, steps, reports))
    extra = separations + (not reference.is_own)
    return steps + extra * probe.horizon + once + checks * FORWARD_COST * batches


def in_words(training: Training, reference: Reference, probe: Probe) -> str:
    """How a training is measured, and what that costs beside it."""
    own = str(precision_of(training)).removeprefix("torch.")
    if reference.is_own:
        return f"{reference}, in the first {probe.horizon} steps of the training"
    return f"{reference}, {probe.horizon} steps beside the training, which is in {own}"


def _group_size(file: StudyFile, study: optuna.Study) -> int:
    limits = [file.n_trials, grid_points_left(base_sampler(study), study)]
    known = [limit for limit in limits if limit is not None]
    return max(1, min([Schedule.of(file).group_of(0)[1], *known]))


def _probing_cost(candidate: Candidate, probe: Probe) -> float:
    """Of the rates or candidates that a sampler has probed, beyond the probe of the trial's own."""
    charge_probes(candidate)
    start = candidate.start
    if start is None or start.probe != probe:
        return candidate.gradient_evaluations
    return candidate.gradient_evaluations - start.measurement.gradient_evaluations


def _failure(candidate: Candidate) -> str | None:
    return None if candidate.outcome is None else candidate.outcome.reason
