"""What samplers and pruners need of the rest of a study file, and what they get of it."""

from __future__ import annotations

import importlib.util
import math

from lyapopt.space import AnyParameter, ConstantParameter, FloatParameter, IntParameter
from lyapopt.study.file.check_space import entry_path, possible, written_names
from lyapopt.study.file.classes import ClassSpec
from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import describe, did_you_mean, known_names
from lyapopt.study.file.model import AUTO, NO_PRUNER, StudyFile

__all__ = ["SAMPLER_CHECKS"]


def check_sampler(study: StudyFile, report: Report) -> None:
    """What samplers need of the rest of the file."""
    if not report.sound(("sampler",)) or study.sampler in (None, AUTO):
        return
    _check_warm_start(study, report)
    probing: str | None = None
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
        if row.probes and probing is not None:
            report.add(path, f"{probing} probes already", hint="use one of the two")
        probing = name if row.probes else probing
        if name == "EdgeOfChaosSampler":
            _check_steered(spec, path, study, report)
        if not row.several_values and len(study.all_directions) > 1:
            message = f"{name} optimizes one value, and there are {len(study.all_directions)}"
            report.add(path, message, hint="for example sampler: nsgaii, or tpe")
        if row.exhaustive:
            _check_finite(name, study, report)
        if name == "PartialFixedSampler":
            _check_values("fixed_params", spec, path, study, report)
        if name == "CmaEsSampler" and spec.kwargs.get("x0") is not None:
            _check_values("x0", spec, path, study, report)
            _check_start(spec, path, study, report)
        if name == "NSGAIIISampler":
            _check_reference_points(spec, path, study, report)


_LEARN_NOTHING = {
    "BruteForceSampler",
    "CmaEsSampler",
    "GridSampler",
    "NSGAIISampler",
    "NSGAIIISampler",
    "QMCSampler",
    "RandomSampler",
}
"""They look at no other trials, or only at those that they have proposed themselves."""


def _check_warm_start(study: StudyFile, report: Report) -> None:
    """The sampler that draws learns from trials that it has not proposed."""
    innermost = list(study.sampler_spec.walk())[-1].class_name
    if study.warm_start is not None and innermost in _LEARN_NOTHING:
        message = f"{innermost} learns nothing from trials of another study"
        report.add(("warm_start",), message, hint="sampler: tpe, or gp", at="key")


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


_MOST_POINTS = 1_000_000


def _check_finite(name: str, study: StudyFile, report: Report) -> None:
    """Finitely many points, which Optuna holds in memory; what is steered has none."""
    points = 1
    for parameter_name, p in study.search_space.items():
        if parameter_name in study.steered or not report.sound(entry_path(parameter_name)):
            continue
        if not p.is_finite:
            hint = "give choices or a step" if isinstance(p, FloatParameter) else "give one seed"
            message = f"{name} tries every value, and {parameter_name} has no end of them"
            report.add(entry_path(parameter_name), message, hint=hint, at="key")
        elif points <= _MOST_POINTS:
            points *= _count(p)
            if points > _MOST_POINTS:
                message = f"{name} tries every value, and these are too many: {points:.3g}"
                hint = f"at most {_MOST_POINTS:,} points in all: larger steps, fewer choices"
                report.add(entry_path(parameter_name), message, hint=hint, at="key")


def _count(p: AnyParameter) -> int:
    """How many values a finite parameter has; `len` of a range ends at 63 bits."""
    if isinstance(p, IntParameter):
        return max(0, p.high - p.low) // p.step + 1
    return len(p.values())


def _check_values(
    argument: str, spec: ClassSpec, path: Path, study: StudyFile, report: Report
) -> None:
    """Parameters of the search space with values that they can have."""
    written = written_names(report)
    for name, value in spec.kwargs[argument].items():
        where, parameter = (*path, argument, name), study.search_space.get(name)
        if parameter is None:
            if study.search_space and name not in written:
                hint = did_you_mean(name, study.search_space)
                report.add(where, f"{name[:60]} is not in the search space", hint=hint, at="key")
        elif report.sound(entry_path(name)) and not parameter.contains(value):
            report.add(where, f"{name} is never {describe(value)}: {possible(parameter)}")


def _check_start(spec: ClassSpec, path: Path, study: StudyFile, report: Report) -> None:
    """CMA-ES begins at a point: with a value for each number that it searches."""
    given = spec.kwargs["x0"]
    numbers = {
        name: p
        for name, p in study.search_space.items()
        if isinstance(p, FloatParameter | IntParameter)
    }
    lacking = [
        n for n, p in numbers.items() if n not in {*given, *study.steered} and p.low < p.high
    ]
    if lacking and report.sound((*path, "x0")):
        report.add(
            (*path, "x0"), f"x0 has no value of {known_names(lacking)}", hint="a number each"
        )


def _check_reference_points(spec: ClassSpec, path: Path, study: StudyFile, report: Report) -> None:
    """Points of NSGA-III have a coordinate for each value, and are not too many to be held."""
    values, points = len(study.all_directions), spec.kwargs.get("reference_points")
    if points is not None and len(points[0]) != values:
        message = f"a point has {len(points[0])} numbers, and a trial returns {values}"
        report.add((*path, "reference_points"), message, hint="a number for each direction")
    parts = spec.kwargs.get("dividing_parameter", 3)
    if points is None and math.comb(values + parts - 1, parts) > _MOST_POINTS:
        message = f"dividing_parameter: {parts} makes too many reference points of {values} values"
        report.add((*path, "dividing_parameter"), message, hint="for example 3")


def check_pruner(study: StudyFile, report: Report) -> None:
    """Optuna prunes studies of one value only."""
    if study.pruner in (None, AUTO) or not report.sound(("pruner",), ("directions",)):
        return
    if len(study.all_directions) == 1:
        return
    for spec, path in _with_paths(study.pruner, ("pruner",), report):
        if spec.import_path.startswith("optuna.") and spec != NO_PRUNER:
            message = f"{spec.class_name} prunes studies of one value, this one has several"
            report.add(path, message, hint="write pruner: nop, or optimize one value")


SAMPLER_CHECKS = (check_sampler, check_pruner)
