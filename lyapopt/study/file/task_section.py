"""The `task` of a study file: one of ours with its options, or a user's own build function."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from lyapopt.study.file.document import Path, Plain, Report
from lyapopt.study.file.import_paths import import_path_hint, is_import_path
from lyapopt.study.file.messages import describe, did_you_mean, known_names, number
from lyapopt.tasks.catalogue import (
    MODELS,
    TASKS,
    default_params,
    options_of,
)
from lyapopt.tasks.options import Option

__all__ = ["BuiltinTask", "CustomTask", "TaskSection", "option_hint", "resolve_task"]

SYNONYMS = {
    "learning_rate": "lr",
    "epochs": "steps",
    "n_steps": "steps",
    "max_steps": "steps",
    "hidden_size": "hidden",
    "hidden_sizes": "hidden",
    "hidden_layers": "hidden",
    "activation_function": "activation",
    "scheduler": "schedule",
    "clip": "clip_grad_norm",
    "gradient_clipping": "clip_grad_norm",
    "val_fraction": "validation_fraction",
    "batchnorm": "batch_norm",
    "seed": "init_seed",
}
"""What other tools call our options, where spelling alone does not lead there."""


@dataclass(frozen=True)
class BuiltinTask:
    """One of our tasks.

    Attributes:
        name: `xor`, `digits`, ...
        options: what the file says, normalised (`hidden: 8` is `[8]`).
    """

    name: str
    options: dict[str, Any] = field(default_factory=dict)

    @property
    def model(self) -> str:
        """The model, where the search space does not vary it."""
        return str(self.options.get("model", TASKS[self.name].models[0]))

    def defaults(self) -> dict[str, Any]:
        """The options of this task and model with their defaults."""
        return default_params(self.name, [self.model])

    def params(self, models: Iterable[str] | None = None) -> dict[str, Any]:
        """All options with defaults filled in; the search space of a trial goes on top of them.

        >>> BuiltinTask("xor", {"steps": 50}).params()["steps"]
        50
        """
        names = [self.model] if models is None else list(models)
        return {**default_params(self.name, names), "model": self.model, **self.options}

    def as_dict(self) -> dict[str, Any]:
        """Plain data that describes it."""
        return {"name": self.name, **self.options}


@dataclass(frozen=True)
class CustomTask:
    """A user's own task: `build(params) -> Training`.

    Attributes:
        build: import path of the function.
        kwargs: parameters that are the same in every trial.
    """

    build: str
    kwargs: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data that describes it."""
        return {"build": self.build, "kwargs": self.kwargs}


TaskSection = BuiltinTask | CustomTask


def resolve_task(value: Plain, path: Path, report: Report) -> TaskSection | None:
    """The task that `value` names, with its options; mistakes go to the report.

    Args:
        value: a name, or a mapping with `name` and options, or with `build` and `kwargs`.
        path: where it stands in the file.
        report: takes the mistakes.

    Returns:
        the task, or None if there was a mistake.
    """
    before = len(report.issues)
    if isinstance(value, str):
        task = _builtin({"name": value}, path, report, at_name=path)
    elif not isinstance(value, dict):
        example = "for example {name: digits, model: mlp} or {build: package.module:function}"
        report.add(path, f"expected a mapping, got {describe(value)}", hint=example)
        return None
    elif "name" in value and "build" in value:
        message = "`name` and `build` exclude each other: one of our tasks, or your own"
        report.add((*path, "build"), message, at="key")
        return None
    elif "build" in value:
        return _custom(value, path, report)
    else:
        task = _builtin(value, path, report, at_name=(*path, "name"))
    return task if len(report.issues) == before else None


def _custom(value: dict[str, Plain], path: Path, report: Report) -> CustomTask | None:
    before = len(report.issues)
    build, kwargs = value["build"], value.get("kwargs", {})
    if not isinstance(build, str) or not is_import_path(build):
        hint = import_path_hint(build) if isinstance(build, str) else None
        message = f"expected an import path, package.module:function, got {describe(build)}"
        report.add((*path, "build"), message, hint=hint)
    if not isinstance(kwargs, dict):
        report.add((*path, "kwargs"), f"expected a mapping, got {describe(kwargs)}")
    for key in value:
        if key not in ("build", "kwargs"):
            hint = did_you_mean(key, ["build", "kwargs"])
            hint = hint or f"arguments of your function go into kwargs: {{{key}: ...}}"
            report.add((*path, key), f"unknown key {key}", hint=hint, at="key")
    if isinstance(build, str) and isinstance(kwargs, dict) and len(report.issues) == before:
        return CustomTask(build, dict(kwargs))
    return None


def _builtin(
    value: dict[str, Plain], path: Path, report: Report, at_name: Path
) -> BuiltinTask | None:
    name = value.get("name")
    if name is None:
        hint = f"write name: {next(iter(TASKS))}, or build: package.module:function"
        report.add(at_name, "`name` is missing: which task?", hint=hint)
        return None
    if not isinstance(name, str) or name not in TASKS:
        _unknown_task(name, at_name, report)
        return None
    models = _models(name, value, path, report)
    known = options_of(name, models)
    options: dict[str, Any] = {}
    for key, item in value.items():
        if key == "name":
            continue
        option = known.get(key)
        if option is None:
            problem, advice = unknown_option(key, name, models)
            report.add((*path, key), problem, hint=advice, at="key")
        elif option.problem(item) is not None:
            message = f"expected {option.expected()}, got {describe(item)}"
            report.add((*path, key), message, hint=option_hint(option, item))
        else:
            options[key] = option.normalise(item)
    return BuiltinTask(name, options)


def _unknown_task(name: Plain, path: Path, report: Report) -> None:
    built = known_names(TASKS)
    hint = did_you_mean(name, TASKS) if isinstance(name, str) else None
    if hint is None and isinstance(name, str) and ":" in name:
        hint = f"a build function of your own: {{build: {name[:80]}}}"
    message = f"expected a task's name ({built}), got {describe(name)}"
    report.add(path, message, hint=hint or "for a task of your own write build: instead of name:")


def _models(task: str, value: dict[str, Plain], path: Path, report: Report) -> list[str]:
    """The models whose options the section may have."""
    allowed = TASKS[task].models
    model = value.get("model", allowed[0])
    searched = report.document.get(("search_space", "model"))
    searched = searched.get("choices") if isinstance(searched, dict) else searched
    several = searched if isinstance(searched, list) else [searched]
    if isinstance(model, str) and model in MODELS and model not in allowed:
        message = f"the task {task} takes no model {model}, only {known_names(allowed)}"
        report.add((*path, "model"), message)
    names = [m for m in (model, *several) if isinstance(m, str) and m in allowed]
    return names or [allowed[0]]


def unknown_option(key: str, task: str, models: Iterable[str]) -> tuple[str, str | None]:
    """Message and hint for an option that a task with these models does not have."""
    models = list(models)
    known = options_of(task, models)
    message = f"{key[:60]} is no option of the task {task}"
    everywhere = options_of(task, TASKS[task].models)
    if key in everywhere:
        owners = [m for m in TASKS[task].models if key in {o.name for o in MODELS[m].options}]
        message += f" with the model {known_names(models)}"
        return message, f"it belongs to model: {known_names(owners)}"
    synonym = SYNONYMS.get(key.lower().replace("-", "_"))
    if synonym is not None and synonym in known:
        return message, f"did you mean {synonym}?"
    hint = did_you_mean(key, known) or f"its options are {known_names(sorted(known))}"
    return message, hint


def option_hint(option: Option, value: Plain) -> str | None:
    """What was probably meant by a value that an option does not take."""
    if option.type == "choice" and isinstance(value, str):
        return did_you_mean(value, option.choices)
    if option.type in ("int", "ints", "seed") and isinstance(value, float) and value.is_integer():
        return f"write {number(int(value))}"
    if isinstance(value, str) and option.type in ("int", "float"):
        try:
            return f"write {float(value):g} without quotes"
        except ValueError:
            return None
    return None
