"""Checks across sections: what belongs together, what excludes each other, what never ends."""

from __future__ import annotations

import importlib.util
from typing import Any

from lyapopt.space import (
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    IntParameter,
)
from lyapopt.study.file.check_space import entry_path, task_options, written_names
from lyapopt.study.file.classes import ClassSpec
from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import as_written, describe, did_you_mean, known_names
from lyapopt.study.file.model import NO_PRUNER, StudyFile
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


def check_horizon(study: StudyFile, report: Report) -> None:
    """The probe is the beginning of the training, so it is not longer."""
    horizon = ("probe", "horizon")
    if not isinstance(study.task, BuiltinTask) or not report.sound(horizon, ("task",)):
        return
    steps = study.search_space.get("steps")
    if steps is not None and not report.sound(entry_path("steps")):
        return
    fewest: Any = study.fixed_params()["steps"]
    at: Path = ("task", "steps")
    if isinstance(steps, IntParameter):
        fewest, at = steps.low, entry_path("steps", "low")
    elif isinstance(steps, CategoricalParameter):
        fewest, at = min(steps.choices), entry_path("steps")
    elif isinstance(steps, ConstantParameter):
        at = entry_path("steps")
    if isinstance(fewest, int) and fewest < study.probe.horizon:
        shown = at if report.document.get(at) is not None else horizon
        message = f"steps ({fewest}) are fewer than the probe's horizon ({study.probe.horizon})"
        report.add(shown, message, hint="the probe is the first steps of the training")


def check_optimizer(study: StudyFile, report: Report) -> None:
    """Combinations that `torch.optim` refuses, where the file fixes them."""
    if not isinstance(study.task, BuiltinTask) or not report.sound(("task",), ("search_space",)):
        return
    params = study.fixed_params()
    fixed = {name: value for name, value in params.items() if name not in study.variables}
    options, path = study.task.options, ("task",)
    if options.get("betas") is not None and {"beta1", "beta2"} & {*options}:
        report.add((*path, "betas"), "betas and beta1, beta2 exclude each other", at="key")
    nesterov = fixed.get("nesterov") is True and fixed.get("optimizer") == "sgd"
    if nesterov and (fixed.get("momentum") == 0 or fixed.get("dampening", 0) != 0):
        message = "nesterov needs momentum above 0 and no dampening"
        report.add((*path, "nesterov"), message)
    warmup, steps = fixed.get("warmup_steps", 0), fixed.get("steps")
    if isinstance(steps, int) and isinstance(warmup, int) and warmup > steps:
        message = f"warmup_steps ({warmup}) are more than steps ({steps})"
        report.add((*path, "warmup_steps"), message)


# samplers and pruners


def check_sampler(study: StudyFile, report: Report) -> None:
    """What samplers need of the rest of the file."""
    if not report.sound(("sampler",)) or study.sampler is None:
        return
    for spec, path in _with_paths(study.sampler, ("sampler",), report):
        name, row = spec.class_name, spec.row
        package = row.package
        if package is not None and importlib.util.find_spec(package) is None:
            message = f"{name} needs the package {package}, which is not installed"
            report.add(path, message, hint=f"pip install {package}")
            continue
        if row.probes and study.objective is not None:
            message = f"{name} trains networks itself: it needs a task, not an objective"
            report.add(path, message, hint="task: {build: package.module:function}")
        if name == "EdgeOfChaosSampler":
            _check_steered(spec, path, study, report)
        if not row.several_values and len(study.all_directions) > 1:
            message = f"{name} optimizes one value, and there are {len(study.all_directions)}"
            report.add(path, message, hint="for example sampler: nsgaii, or tpe")
        if row.exhaustive:
            _check_finite(name, study, report)
        if name == "PartialFixedSampler":
            _check_fixed(spec, path, study, report)


def _with_paths(spec: ClassSpec, path: Path, report: Report) -> list[tuple[ClassSpec, Path]]:
    """The spec and all that is nested in it, with the keys that the file uses."""
    found = [(spec, path)]
    written = report.document.get(path)
    for name, inner in spec.nested.items():
        short = {"base_sampler": "base", "wrapped_pruner": "wrapped"}.get(name, name)
        key = name if isinstance(written, dict) and name in written else short
        found += _with_paths(inner, (*path, key), report)
    return found


def _check_steered(spec: ClassSpec, path: Path, study: StudyFile, report: Report) -> None:
    steer = spec.kwargs.get("steer", "lr")
    written = report.document.get((*path, "steer")) is not None
    at = (*path, "steer") if written else path
    parameter = study.search_space.get(steer)
    if parameter is None:
        if steer not in written_names(report):
            hint = did_you_mean(steer, study.variables) or _steerable(study)
            message = f"the steered parameter {steer[:60]} is not in the search space"
            report.add(at, message, hint=hint)
    elif not isinstance(parameter, FloatParameter) and report.sound(entry_path(steer)):
        what = "constant" if isinstance(parameter, ConstantParameter) else parameter.type
        message = f"{steer} is {what}: steering bisects a real number"
        report.add(at, message, hint=_steerable(study))


def _steerable(study: StudyFile) -> str:
    names = [n for n, p in study.search_space.items() if isinstance(p, FloatParameter)]
    if names:
        return f"real parameters are {known_names(names)}"
    return "for example lr: {type: float, low: 1e-4, high: 1.0, log: true}"


def _check_finite(name: str, study: StudyFile, report: Report) -> None:
    for parameter_name, p in study.search_space.items():
        if not p.is_finite and report.sound(entry_path(parameter_name)):
            hint = "give choices or a step" if isinstance(p, FloatParameter) else "give one seed"
            message = f"{name} tries every value, and {parameter_name} has no end of them"
            report.add(entry_path(parameter_name), message, hint=hint, at="key")


def _check_fixed(spec: ClassSpec, path: Path, study: StudyFile, report: Report) -> None:
    fixed = spec.kwargs.get("fixed_params", {})
    written = written_names(report)
    for name in fixed if isinstance(fixed, dict) else ():
        if name not in study.search_space and name not in written:
            hint = did_you_mean(name, study.search_space)
            where = (*path, "fixed_params", name)
            report.add(where, f"{name[:60]} is not in the search space", hint=hint, at="key")


def check_pruner(study: StudyFile, report: Report) -> None:
    """Optuna prunes studies of one value only."""
    if study.pruner is None or not report.sound(("pruner",), ("directions",)):
        return
    if len(study.all_directions) == 1 or "pruner" not in study.model_fields_set:
        return
    for spec, path in _with_paths(study.pruner, ("pruner",), report):
        if spec.import_path.startswith("optuna.") and spec != NO_PRUNER:
            message = f"{spec.class_name} prunes studies of one value, this one has several"
            report.add(path, message, hint="write pruner: nop, or optimize one value")


# enqueued trials


def check_enqueued(study: StudyFile, report: Report) -> None:
    """Enqueued trials have parameters of the search space, with values in range."""
    if not study.search_space:
        return
    for index, params in enumerate(study.enqueue):
        for name, value in params.items():
            path: Path = ("enqueue", index, name)
            parameter = study.search_space.get(name)
            if parameter is None:
                _unknown_enqueued(name, path, study, report)
            elif not report.sound(entry_path(name)):
                continue
            elif not parameter.contains(value):
                message = f"{name} is never {describe(value)}: {_possible(parameter)}"
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


def _possible(parameter: Any) -> str:
    if isinstance(parameter, ConstantParameter):
        return f"it is {describe(parameter.value)} in every trial"
    if isinstance(parameter, CategoricalParameter):
        return f"its choices are {known_names(map(as_written, parameter.choices))}"
    step = f" in steps of {parameter.step:g}" if getattr(parameter, "step", None) else ""
    what = "a number" if isinstance(parameter, FloatParameter) else "a whole number"
    return f"it is {what} from {parameter.low:g} to {parameter.high:g}{step}"


def check_distance(study: StudyFile, report: Report) -> None:
    """The estimator can measure what is asked for."""
    if study.task is None or not report.sound(("probe",)):
        return
    if study.probe.estimator == "tangent" and study.probe.distance != "weights":
        message = "estimator: tangent measures in the weights, not in the outputs"
        report.add(("probe", "distance"), message, hint="write distance: weights")


STUDY_CHECKS = (
    check_what_is_trained,
    check_distance,
    check_limits,
    check_values,
    check_horizon,
    check_optimizer,
    check_sampler,
    check_pruner,
    check_enqueued,
)
