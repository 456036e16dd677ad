"""Checks inside the search space: bounds, choices, conditions, and the options they vary."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lyapopt.space import (
    AnyParameter,
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    IntParameter,
    SeedParameter,
    same,
)
from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import (
    as_written,
    describe,
    described,
    did_you_mean,
    known_names,
)
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.notations import foreign_notation
from lyapopt.study.file.task_section import BuiltinTask, option_hint, unknown_option
from lyapopt.tasks.catalogue import TASKS, options_of
from lyapopt.tasks.options import Option

__all__ = ["SPACE_CHECKS", "entry_path", "possible", "task_options", "written_names"]


def entry_path(name: str, *inner: str | int) -> Path:
    """The path of a part of an entry of the search space."""
    return ("search_space", name, *inner)


def written_names(report: Report) -> list[str]:
    """The names that the search space has in the file, also those of entries that are wrong."""
    space = report.document.get(("search_space",))
    return list(space) if isinstance(space, dict) else []


def _values(name: str, parameter: AnyParameter, report: Report) -> Iterator[tuple[Path, Any]]:
    """The sound values that an entry lists, with their paths: choices, or a constant."""
    listed: Iterator[tuple[Path, Any]] = iter(())
    if isinstance(parameter, ConstantParameter):
        listed = iter([(entry_path(name), parameter.value)])
    elif isinstance(parameter, CategoricalParameter):
        plain = isinstance(report.document.get(entry_path(name)), list)
        holder = entry_path(name) if plain else entry_path(name, "choices")
        listed = (((*holder, index), choice) for index, choice in enumerate(parameter.choices))
    for path, value in listed:
        if report.sound(path):
            yield path, value


def check_notations(study: StudyFile, report: Report) -> None:
    """No text that another tool would read as a range: here it would be a constant."""
    for name, p in study.search_space.items():
        for path, value in _values(name, p, report):
            meant = foreign_notation(value) if isinstance(value, str) else None
            if meant is not None:
                message = f"{describe(value)} is another tool's notation: here it is only a text"
                report.add(path, message, hint=f"write {meant}")


def check_bounds(study: StudyFile, report: Report) -> None:
    """`low <= high`, and a logarithm that exists."""
    for name, p in study.search_space.items():
        if not isinstance(p, FloatParameter | IntParameter | SeedParameter):
            continue
        if p.low > p.high:
            message = f"high ({p.high:g}) is below low ({p.low:g})"
            report.add(entry_path(name, "high"), message, hint="exchange them")
        if isinstance(p, SeedParameter) or not p.log:
            continue
        if p.low <= 0:
            message = f"log: true needs low above 0, got {p.low:g}"
            hint = "a smallest value such as 1e-5" if isinstance(p, FloatParameter) else "low: 1"
            report.add(entry_path(name, "low"), message, hint=hint)
        if p.step not in (None, 1) or (isinstance(p, FloatParameter) and p.step is not None):
            message = "log: true and step exclude each other"
            report.add(entry_path(name, "step"), message, hint="remove one of them", at="key")


def check_choices(study: StudyFile, report: Report) -> None:
    """Choices: some, and no two the same."""
    for name, p in study.search_space.items():
        if not isinstance(p, CategoricalParameter):
            continue
        if not p.choices:
            plain = isinstance(report.document.get(entry_path(name)), list)
            path = entry_path(name) if plain else entry_path(name, "choices")
            report.add(path, "there are no choices: a list of at least one value is needed")
        listed = list(_values(name, p, report))
        for index, (path, choice) in enumerate(listed):
            if any(same(choice, earlier) for _, earlier in listed[:index]):
                message = f"the choice {describe(choice)} is listed twice"
                hint = "a list here is a choice between its items"
                if name in ("hidden", "channels"):
                    hint += f"; for layers of that size write {name} under task:"
                report.add(path, message, hint=hint)


def check_seeds(study: StudyFile, report: Report) -> None:
    """A seed has no order and no neighbours: a model of the search space learns noise from it."""
    for name, p in study.search_space.items():
        is_seed = name == "seed" or name.endswith("_seed")
        if not is_seed or isinstance(p, SeedParameter | ConstantParameter):
            continue
        bounds = ""
        if isinstance(p, IntParameter):
            bounds = f", low: {p.low}, high: {p.high}"
        elif isinstance(p, CategoricalParameter):
            whole = [c for c in p.choices if isinstance(c, int) and not isinstance(c, bool)]
            if whole and len(whole) == len(p.choices) and min(whole) >= 0:
                bounds = f", low: {min(whole)}, high: {max(whole)}"
        message = "a seed is a name, not a quantity: a sampler would learn noise from it"
        report.add(entry_path(name), message, hint=f"write {{type: seed{bounds}}}")


def possible(parameter: AnyParameter) -> str:
    """What values a parameter has, for "it is never ..."."""
    if isinstance(parameter, ConstantParameter):
        return f"it is {describe(parameter.value)} in every trial"
    if isinstance(parameter, CategoricalParameter):
        return f"its choices are {known_names(map(as_written, parameter.choices))}"
    step = getattr(parameter, "step", None)
    steps = f" in steps of {step:g}" if step else ""
    what = "a number" if isinstance(parameter, FloatParameter) else "a whole number"
    return f"it is {what} from {parameter.low:g} to {parameter.high:g}{steps}"


# conditions


def check_conditions(study: StudyFile, report: Report) -> None:
    """`when` names other parameters, values they can have, and goes in no circle."""
    known = {*written_names(report), *study.search_space, *task_options(study)}
    if study.task is not None and not isinstance(study.task, BuiltinTask):
        known |= set(study.task.kwargs)
    for name, p in study.search_space.items():
        for other, values in p.when.items():
            path = entry_path(name, "when", other)
            if other == name:
                report.add(path, f"{name} cannot depend on itself", at="key")
            elif other not in known:
                message = f"there is no parameter {other[:60]}"
                hint = did_you_mean(other, known) or f"there are {known_names(sorted(known)[:12])}"
                report.add(path, message, hint=hint, at="key")
            elif report.sound(entry_path(other)) and report.sound(("task",)):
                _check_condition_values(path, other, values, study, report)
    _check_circles(study, report)


def _check_condition_values(
    path: Path, other: str, values: tuple[Any, ...], study: StudyFile, report: Report
) -> None:
    parameter = study.search_space.get(other)
    if isinstance(parameter, FloatParameter | SeedParameter):
        what = "a real number" if isinstance(parameter, FloatParameter) else "a seed"
        report.add(path, f"{other} is {what}: a condition needs a choice or a whole number")
        return
    option = task_options(study).get(other)
    for index, value in enumerate(values):
        listed = isinstance(report.document.get(path), list)
        where = (*path, index) if listed else path
        if parameter is not None and not isinstance(parameter, ConstantParameter):
            if not parameter.contains(value):
                choices = getattr(parameter, "choices", ())
                message = f"{other} is never {describe(value)}"
                hint = _choice_hint(value, choices) or _range_hint(other, parameter)
                report.add(where, message, hint=hint)
        elif option is not None and option.problem(value) is not None:
            message = f"{other} is {option.expected()}, never {describe(value)}"
            report.add(where, message, hint=option_hint(option, value))


def _choice_hint(value: Any, choices: tuple[Any, ...]) -> str | None:
    names = [choice for choice in choices if isinstance(choice, str)]
    near = did_you_mean(value, names) if isinstance(value, str) else None
    return near or (f"its choices are {known_names(map(as_written, choices))}" if choices else None)


def _range_hint(name: str, parameter: AnyParameter) -> str | None:
    if isinstance(parameter, FloatParameter | IntParameter | SeedParameter):
        return f"{name} lies between {parameter.low:g} and {parameter.high:g}"
    return None


def _check_circles(study: StudyFile, report: Report) -> None:
    space = study.search_space
    for name, p in study.search_space.items():
        reached, open_names = set[str](), list(p.when)
        while open_names:
            other = open_names.pop()
            if other == name and other not in p.when:
                message = f"the conditions go in a circle back to {name}"
                report.add(entry_path(name, "when"), message, at="key")
                break
            if other == name:
                break
            if other not in reached and other in space:
                reached.add(other)
                open_names += list(space[other].when)


# options of built-in tasks


def task_options(study: StudyFile) -> dict[str, Option]:
    """The options of the study's built-in task, with all models that it searches; else none."""
    if not isinstance(study.task, BuiltinTask):
        return {}
    return options_of(study.task.name, study.models(study.task))


def check_options(study: StudyFile, report: Report) -> None:
    """What varies an option of the built-in task stays within what the option takes."""
    if not isinstance(study.task, BuiltinTask):
        return
    options = task_options(study)
    for name, p in study.search_space.items():
        option = options.get(name)
        if option is None:
            continue
        _check_parameter_against(option, name, p, report)


def check_names(study: StudyFile, report: Report) -> None:
    """Each parameter of a built-in task is one of its options, which some optimizer reads."""
    if not isinstance(study.task, BuiltinTask):
        return
    options = task_options(study)
    for name in written_names(report):
        if name not in options:
            _unknown_parameter(name, study.task, study, report)
    if not report.sound(entry_path("optimizer")):
        return
    optimizers = _possible_optimizers(study)
    for name, p in study.search_space.items():
        option = options.get(name)
        if option is None:
            continue
        if option.optimizers is not None and not p.when and not optimizers & {*option.optimizers}:
            used = known_names(sorted(optimizers))
            message = f"{name} has no effect: no optimizer of this study ({used}) reads it"
            hint = f"it is read by {known_names(option.optimizers)}"
            report.add(entry_path(name), message, hint=hint, at="key")


def _possible_optimizers(study: StudyFile) -> set[str]:
    searched = study.search_space.get("optimizer")
    if isinstance(searched, CategoricalParameter):
        return {str(choice) for choice in searched.choices}
    return {str(study.fixed_params().get("optimizer"))}


def _unknown_parameter(name: str, task: BuiltinTask, study: StudyFile, report: Report) -> None:
    models = TASKS[task.name].models if "model" in study.search_space else [task.model]
    _, hint = unknown_option(name, task.name, models)
    message = f"{name[:60]} would have no effect: it is no option of the task {task.name}"
    report.add(entry_path(name), message, hint=hint, at="key")


def _check_parameter_against(option: Option, name: str, p: AnyParameter, report: Report) -> None:
    if isinstance(p, ConstantParameter | CategoricalParameter):
        for path, value in _values(name, p, report):
            if option.problem(value) is not None:
                shown = described(value, path, report)
                message = f"expected {option.expected()}, got {shown}"
                report.add(path, message, hint=option_hint(option, value))
        return
    if option.type == "seed" and not isinstance(p, SeedParameter):
        return  # `check_seeds` says it
    if isinstance(p, SeedParameter) and option.type != "seed":
        message = f"{name} is {option.expected()}: a seed is a number without order"
        report.add(entry_path(name, "type"), message, hint=f"write type: {option.type}")
        return
    whole = isinstance(p, IntParameter | SeedParameter)
    if option.type not in ("float", "int", "ints", "seed") or (
        option.type != "float" and not whole
    ):
        message = f"{name} is {option.expected()}, which type: {p.type} does not give"
        hint = f"a list of choices: {known_names(option.choices)}" if option.choices else None
        hint = hint or ("a list of choices: [true, false]" if option.type == "bool" else None)
        hint = hint or "write type: int" + (", and a whole step" if _has_fraction(p) else "")
        report.add(entry_path(name, "type"), message, hint=hint)
        return
    for key, value in (("low", p.low), ("high", p.high)):
        if option.problem(value) is not None:
            message = f"expected {option.expected()}, got {describe(value)}"
            report.add(entry_path(name, key), message)


def _has_fraction(p: AnyParameter) -> bool:
    step = getattr(p, "step", None)
    return isinstance(step, float) and not step.is_integer()


# What is said of an entry as a whole comes last: the report drops what follows it inside.
SPACE_CHECKS = (
    check_notations,
    check_bounds,
    check_choices,
    check_conditions,
    check_options,
    check_names,
    check_seeds,
)
