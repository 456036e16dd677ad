"""Checks across sections: what belongs together, what excludes each other, what never ends."""

from __future__ import annotations

from typing import Any

from lyapopt.space import (
    CategoricalParameter,
)
from lyapopt.study.file.check_samplers import SAMPLER_CHECKS
from lyapopt.study.file.check_space import entry_path, possible, task_options
from lyapopt.study.file.check_task import TASK_CHECKS
from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import describe, did_you_mean, known_names
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.task_section import BuiltinTask
from lyapopt.tasks.catalogue import TASKS

__all__ = ["STUDY_CHECKS"]


def check_what_is_trained(study: StudyFile, report: Report) -> None:
    """A task or an objective, and something to search."""
    if not report.sound(("task",), ("objective",)):
        return
    if study.task is not None and study.objective is not None:
        message = "`task` and `objective` exclude each other"
        report.add(("objective",), message, hint="keep one of them", at="key")
    elif study.task is None and study.objective is None:
        hint = "for example task: {name: digits, model: mlp}"
        report.add(("task",), "`task` is missing: what is trained?", hint=hint)
    elif study.task is not None and not study.search_space and report.sound(("search_space",)):
        hint = "for example search_space: {lr: {type: float, low: 1e-4, high: 1.0, log: true}}"
        report.add(("search_space",), "there is nothing to search", hint=hint)


def check_limits(study: StudyFile, report: Report) -> None:
    """A study ends some time."""
    names = ("n_trials", "timeout", "budget")
    if study.objective is not None and study.budget is not None:
        message = "the gradients of an objective of your own cannot be counted"
        report.add(("budget",), message, hint="use n_trials or timeout", at="key")
        return
    if any(getattr(study, name) is not None for name in names):
        return
    if not report.sound(*((name,) for name in names)) or not report.sound(("sampler",)):
        return
    if any(spec.row.exhaustive for spec in study.sampler_spec.walk()):
        return
    report.add(
        ("n_trials",),
        "this study would never end: it has no n_trials, no timeout and no budget",
        hint="for example n_trials: 100",
    )


def check_values(study: StudyFile, report: Report) -> None:
    """What a trial returns fits the directions, and `promote` fits what it returns."""
    if study.direction is not None and study.directions is not None:
        message = "`direction` and `directions` exclude each other"
        report.add(("directions",), message, hint="keep one of them", at="key")
        return
    if not report.sound(("direction",), ("directions",), ("value",), ("objective",)):
        return
    if study.objective is not None:
        if study.value != "loss":
            message = "an objective of your own returns the value: `value` is for tasks"
            report.add(("value",), message, hint="remove it", at="key")
        if study.rank_at is not None:
            message = "an objective of your own trains as long as it likes: rank_at is for tasks"
            report.add(("rank_at",), message, hint="remove it", at="key")
        return
    given, needed = len(study.all_directions), 2 if study.value == "both" else 1
    if given != needed:
        what = f"value: {study.value} is {'two values' if needed == 2 else 'one value'}"
        hint = "write directions: [minimize, minimize]" if needed == 2 else "write direction:"
        at = ("value",) if needed == 2 else ("directions",)
        message = f"{what}, and there {'are two directions' if given == 2 else 'is one direction'}"
        if given > 2:
            message = f"{what}, and there are {given} directions"
        report.add(at, message, hint=hint)
    task = study.task if report.sound(("task",)) else None
    if (
        study.value == "metric"
        and isinstance(task, BuiltinTask)
        and not TASKS[task.name].has_metric
    ):
        message = f"value: metric, but the task {task.name} has no metric"
        report.add(("value",), message, hint="write value: loss")
    _check_ranking(study, report)


def _check_ranking(study: StudyFile, report: Report) -> None:
    """`promote` and `rank_at` fit what a trial returns."""
    if not report.sound(("promote",), ("rank_at",)):
        return
    if study.rank_at is not None and study.value == "exponent":
        message = "with value: exponent nothing is trained beyond the probe"
        report.add(("rank_at",), message, hint="remove rank_at, or write value: loss")
    if study.rank_at is not None and study.rank_at < study.probe.horizon:
        message = (
            f"trainings are stopped after {study.rank_at} steps, before the probe's horizon "
            f"({study.probe.horizon}) is reached"
        )
        report.add(("rank_at",), message, hint="a larger number, or a shorter horizon")
    if not study.promote:
        return
    if study.value == "both":
        message = "promote trains the best in full, and with two values none is the best"
        report.add(("promote",), message, hint="write value: loss")
    elif study.value != "exponent" and study.rank_at is None:
        message = "promote trains the best in full, and all trials of this study are"
        report.add(("promote",), message, hint="rank_at: 50, or value: exponent")


# enqueued trials


def check_enqueued(study: StudyFile, report: Report) -> None:
    """Enqueued trials have parameters of the search space, with values in range."""
    if not study.search_space:
        return
    grid = any(spec.class_name == "GridSampler" for spec in study.sampler_spec.walk())
    for index, params in enumerate(study.enqueue):
        lacking = [n for n in study.variables if n not in {*params, *study.steered}]
        if grid and lacking:
            message = f"beside a grid, a trial has all parameters: {known_names(lacking)}"
            report.add(("enqueue", index), message, hint="add them, or sampler: brute-force")
        for name, value in params.items():
            path: Path = ("enqueue", index, name)
            parameter = study.search_space.get(name)
            if parameter is None:
                _unknown_enqueued(name, path, study, report)
            elif not report.sound(entry_path(name)):
                continue
            elif not parameter.contains(value):
                message = f"{name} is never {describe(value)}: {possible(parameter)}"
                near = None
                if isinstance(value, str) and isinstance(parameter, CategoricalParameter):
                    names = [c for c in parameter.choices if isinstance(c, str)]
                    near = did_you_mean(value, names)
                report.add(path, message, hint=near)
            elif _excluded(name, params, study):
                message = f"{name} does not exist in this trial: its condition does not hold"
                report.add(path, message, hint="remove it here", at="key")


def _excluded(name: str, params: dict[str, Any], study: StudyFile) -> bool:
    """Whether the condition of a parameter is decided by this trial, and does not hold."""
    parameter = study.search_space[name]
    decided = all(n in params or n not in study.variables for n in parameter.when)
    return decided and not parameter.is_active({**study.fixed_params(), **params})


def _unknown_enqueued(name: str, path: Path, study: StudyFile, report: Report) -> None:
    if report.document.get(entry_path(name)) is not None:
        return
    hint = did_you_mean(name, study.search_space)
    if hint is None and name in task_options(study):
        hint = "add it to the search space, or set it under task:"
    report.add(path, f"{name[:60]} is not in the search space", hint=hint, at="key")


STUDY_CHECKS = (
    check_what_is_trained,
    check_limits,
    check_values,
    *TASK_CHECKS,
    *SAMPLER_CHECKS,
    check_enqueued,
)
