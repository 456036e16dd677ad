"""What a study would do first, drawn in memory: the storage is not touched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import optuna

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.probe import Probe
from lyapopt.probe.probe import FORWARD_COST
from lyapopt.search import Candidate
from lyapopt.search._optuna import OrderedStudy, grid_points_left, inside_optimize
from lyapopt.search.training_group import checkpoint_steps
from lyapopt.study.file import StudyFile
from lyapopt.study.run import assembly
from lyapopt.study.run.leases import base_sampler
from lyapopt.study.run.plan import group_size

__all__ = ["Preview", "preview"]


@dataclass(frozen=True)
class Preview:
    """The first group of trials of a study.

    Attributes:
        configurations: Parameters of each trial.
        failures: Why its build function failed, for each trial; `None` where it did not.
        cost: Gradient evaluations of a trial that is trained to the end, on average of the group;
            `None` if no build succeeded.
    """

    configurations: Sequence[Mapping[str, Any]]
    failures: Sequence[str | None]
    cost: float | None


def preview(file: StudyFile) -> Preview:
    """Draw the first group of a study, and build what it would train.

    The parameters are those that the study would begin with: they follow from its seed.

    Raises:
        UserError: If the file names something that cannot be used.
    """
    space = assembly.search_space(file)
    objective = assembly.objective(file, space, None)
    study = OrderedStudy.of(
        optuna.create_study(
            study_name=file.study_name,
            sampler=assembly.sampler(file, space),
            pruner=assembly.pruner(file),
            directions=list(file.all_directions),
        )
    )
    for params in file.enqueue:
        study.enqueue_trial(dict(params))
    count = _group_size(file, study)
    with inside_optimize(study):
        candidates = [objective.prepare(study.ask()) for _ in range(count)]
    probe = Probe.of(file.probe)
    costs = [full_cost(c.training, probe, objective.reports) for c in candidates if c.training]
    return Preview(
        [dict(candidate.params) for candidate in candidates],
        [_failure(candidate) for candidate in candidates],
        sum(costs) / len(costs) if costs else None,
    )


def full_cost(training: Training, probe: Probe, reports: int) -> float:
    """Gradient evaluations of a trial that nothing stops: probe, training, evaluations.

    Args:
        training: With its number of steps.
        probe: The measurement.
        reports: How often a trial is evaluated at most.
    """
    steps = training.steps or probe.horizon
    step = TrainingMap([training])
    evaluation = step.evaluate(step.initial_state())
    batches = evaluation.examples / step.batch_size
    checks = len(checkpoint_steps(probe.horizon, steps, reports))
    extra = probe.neighbours * (2 if probe.estimator == "tangent" else 1)
    return steps + extra * probe.horizon + checks * FORWARD_COST * batches


def _group_size(file: StudyFile, study: optuna.Study) -> int:
    limits = [file.n_trials, grid_points_left(base_sampler(study), study)]
    known = [limit for limit in limits if limit is not None]
    return max(1, min([group_size(file, file.n_trials), *known]))


def _failure(candidate: Candidate) -> str | None:
    return None if candidate.outcome is None else candidate.outcome.reason
