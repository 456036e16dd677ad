"""Checks of the task: options that go together, and what the probe needs of the training."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

from lyapopt.space import CategoricalParameter, ConstantParameter, FloatParameter, IntParameter
from lyapopt.study.file.check_space import entry_path
from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import as_written
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.task_section import BuiltinTask
from lyapopt.tasks.catalogue import TASKS

__all__ = ["TASK_CHECKS"]


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
    """Combinations that `torch.optim` refuses, or that have no effect."""
    if not isinstance(study.task, BuiltinTask) or not report.sound(("task",), ("search_space",)):
        return
    options, path = study.task.options, ("task",)
    if options.get("betas") is not None and {"beta1", "beta2"} & {*options}:
        report.add((*path, "betas"), "betas and beta1, beta2 exclude each other", at="key")
    momenta = _possible(study, "momentum")
    for nesterov, dampening, _ in _together(study, ("nesterov", "dampening", "optimizer"), "sgd"):
        if nesterov and (dampening or momenta == [0]):
            message = "nesterov needs momentum above 0 and no dampening"
            report.add(_place("nesterov", study, report), message)
            break
    fixed = {n: v for n, v in study.fixed_params().items() if n not in study.variables}
    warmup, steps = fixed.get("warmup_steps", 0), fixed.get("steps")
    if isinstance(steps, int) and isinstance(warmup, int) and warmup > steps:
        message = f"warmup_steps ({warmup}) are more than steps ({steps})"
        report.add((*path, "warmup_steps"), message)


def check_model(study: StudyFile, report: Report) -> None:
    """Numbers that divide each other in models of steps and heads."""
    if not isinstance(study.task, BuiltinTask) or not report.sound(("task",), ("search_space",)):
        return
    size, models = TASKS[study.task.name].numbers, {*study.models(study.task)}
    if "transformer-tiny" in models:
        for width, heads, _ in _together(study, ("width", "heads", "model"), "transformer-tiny"):
            if width % heads:
                message = f"width {width} is no multiple of heads {heads}"
                report.add(_place("heads", study, report), message, hint=_ALL_PAIRS)
                break
    if models & {"transformer-tiny", "rnn", "gru"}:
        for patch in _possible(study, "patch"):
            if patch is not None and size % patch:
                message = (
                    f"patch {as_written(patch)} does not divide the {size} numbers of an input"
                )
                report.add(_place("patch", study, report), message, hint="choices, or null")
                break


def check_ranked_steps(study: StudyFile, report: Report) -> None:
    """`rank_at` stops some training before its end, where it is known how long they are."""
    if study.rank_at is None or not isinstance(study.task, BuiltinTask):
        return
    if not report.sound(("rank_at",), ("task",), ("search_space",)):
        return
    longest = max(_possible(study, "steps"))
    if study.rank_at >= longest:
        message = f"no training has more than {longest} steps: all are trained in full, not ranked"
        report.add(("rank_at",), message, hint=f"a number below {longest}, or remove it")


_ALL_PAIRS = "of all values that a trial can have"
_MOST_VALUES = 100


def _possible(study: StudyFile, name: str) -> list[Any]:
    """Values that an option can have in some trial; of very many, some."""
    parameter, fixed = study.search_space.get(name), study.fixed_params().get(name)
    if parameter is None or isinstance(parameter, ConstantParameter):
        return [fixed]
    if isinstance(parameter, FloatParameter):
        values: list[Any] = [parameter.low, parameter.high]
    else:
        values = list(parameter.values()[:_MOST_VALUES])
    return [*values, fixed] if parameter.when and fixed not in values else values


def _together(study: StudyFile, names: tuple[str, str, str], wanted: str) -> Iterator[Any]:
    """Values of two options that a trial can have together where the third is what is wanted."""
    for values in product(*(_possible(study, name) for name in names)):
        known = dict(zip(names, values, strict=True))
        if known[names[2]] == wanted and _exist(study, known):
            yield values


def _exist(study: StudyFile, known: dict[str, Any]) -> bool:
    """Whether some trial can have these values: without its condition, an option is what it was."""
    for name, value in known.items():
        parameter = study.search_space.get(name)
        if parameter is None or not parameter.when:
            continue
        shared = {other: known[other] for other in parameter.when if other in known}
        holds = parameter.is_active({**{n: v[0] for n, v in parameter.when.items()}, **shared})
        if not (parameter.contains(value) if holds else value == study.fixed_params().get(name)):
            return False
    return True


def _place(name: str, study: StudyFile, report: Report) -> Path:
    """Where an option is set: in the search space, under the task, or nowhere."""
    return entry_path(name) if name in study.search_space else ("task", name)


def check_distance(study: StudyFile, report: Report) -> None:
    """The estimator can measure what is asked for."""
    if study.task is None or not report.sound(("probe",)):
        return
    if study.probe.estimator == "tangent" and study.probe.distance != "weights":
        message = "estimator: tangent measures in the weights, not in the outputs"
        report.add(("probe", "distance"), message, hint="write distance: weights")


TASK_CHECKS = (check_distance, check_horizon, check_ranked_steps, check_optimizer, check_model)
