"""A sampler or pruner as a study file describes it: checked against its signature, built later."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path as FilePath
from typing import Any

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.registry import Role, Row, row_of
from lyapopt.study.file.document import Path, Plain, Report
from lyapopt.study.file.import_paths import import_object, import_path_hint, is_import_path
from lyapopt.study.file.messages import describe, did_you_mean, known_names, number
from lyapopt.study.file.signatures import (
    Parameter,
    Signature,
    available,
    display_name,
    signature_of,
)

__all__ = ["ClassSpec", "resolve_class"]

_FILLED_IN = frozenset({"build", "probe", "search_space", "base_sampler"})
"""Arguments that are filled in when the study runs, so that a file need not have them."""
_NESTED_BY_NAME: dict[str, Role] = {
    "base": "sampler",
    "base_sampler": "sampler",
    "independent_sampler": "sampler",
    "wrapped": "pruner",
    "wrapped_pruner": "pruner",
}
_Arguments = dict[str, Plain]
_SHORT = {"base": "base_sampler", "wrapped": "wrapped_pruner"}
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "int": ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    "float": ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    "bool": ("true or false", lambda v: isinstance(v, bool)),
    "str": ("a string", lambda v: isinstance(v, str)),
    "mapping": ("a mapping", lambda v: isinstance(v, dict)),
    "list": ("a list", lambda v: isinstance(v, list)),
    "function": ("a function as package.module:name", lambda v: False),  # found out before
    "None": ("null", lambda v: v is None),
}
"""Kinds of values by their words and who is one."""


@dataclass(frozen=True)
class ClassSpec:
    """A class by import path, with its arguments.

    Attributes:
        import_path: `optuna.samplers:TPESampler`.
        kwargs: plain keyword arguments from the file.
        nested: arguments that are samplers or pruners themselves.
        functions: arguments that are functions, by import path.
    """

    import_path: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    nested: Mapping[str, ClassSpec] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """`TPESampler` of `optuna.samplers:TPESampler`."""
        return self.import_path.rpartition(":")[2]

    @property
    def row(self) -> Row:
        """What is known of the class; of a user's own, nothing but its name."""
        return row_of(self.class_name) or Row(self.class_name, self.import_path)

    def walk(self) -> Iterator[ClassSpec]:
        """This spec and all that is nested in it, outermost first."""
        yield self
        for spec in self.nested.values():
            yield from spec.walk()

    def as_dict(self) -> dict[str, Any]:
        """Plain data that describes it, for display and for digests."""
        nested = {name: spec.as_dict() for name, spec in self.nested.items()}
        return {"class": self.import_path, **self.kwargs, **self.functions, **nested}

    def build(self, *, base_dir: str | FilePath | None = None, **extra: Any) -> Any:
        """Imports the class and constructs it.

        Args:
            base_dir: the study file's folder, for a user's own classes.
            **extra: arguments offered to this class and every nested one: each takes those that
                its constructor has and the file does not set (`seed`, `build`, `search_space`).

        Raises:
            UserError: the class cannot be imported, or refuses its arguments.

        Example:
            >>> type(ClassSpec("optuna.samplers:RandomSampler", {"seed": 1}).build()).__name__
            'RandomSampler'
        """
        target = import_object(self.import_path, base_dir)
        arguments: dict[str, Any] = dict(self.kwargs)
        for name, path in self.functions.items():
            arguments[name] = import_object(path, base_dir)
        for name, spec in self.nested.items():
            arguments[name] = spec.build(base_dir=base_dir, **extra)
        try:
            accepted = inspect.signature(target).parameters
            offered = {name: value for name, value in extra.items() if name in accepted}
            return target(**{**offered, **arguments})
        except UserError:
            raise
        except (TypeError, ValueError) as error:
            raise UserError(
                f"{self.class_name} refuses its arguments: {one_line(error)}"
            ) from error


def resolve_class(role: Role, value: Plain, path: Path, report: Report) -> ClassSpec | None:
    """The class that `value` names, with its arguments; mistakes go to the report.

    Args:
        role: what is expected here.
        value: a name, an import path, or a mapping with `name` and keyword arguments.
        path: where it stands in the file.
        report: takes the mistakes.

    Returns:
        the spec, or None if there was a mistake.
    """
    name, kwargs = _split(role, value, path, report)
    if name is None:
        return None
    at_name = (*path, "name") if isinstance(value, dict) else path
    before = len(report.issues)
    signature = signature_of(name, role)
    if signature is None and is_import_path(name):
        spec = _unchecked(name, kwargs, path, report)
    elif signature is None:
        _unknown_class(role, name, at_name, report)
        return None
    else:
        spec = _checked(signature, kwargs, path, report)
    return spec if len(report.issues) == before else None


def _split(role: Role, value: Plain, path: Path, report: Report) -> tuple[str | None, _Arguments]:
    if isinstance(value, str):
        return value, {}
    example = {"sampler": "tpe", "pruner": "median"}.get(role, "uniform")
    if not isinstance(value, dict):
        expected = f"expected a {role}'s name or a mapping with `name`"
        hint = f"for example {role}: {example}"
        report.add(path, f"{expected}, got {describe(value)}", hint=hint)
        return None, {}
    name = value.get("name")
    if name is None:
        message = f"`name` is missing: which {role}?"
        report.add((*path, "name"), message, hint=f"for example {{name: {example}}}")
        return None, {}
    if not isinstance(name, str):
        report.add((*path, "name"), f"expected a {role}'s name, got {describe(name)}")
        return None, {}
    return name, {key: item for key, item in value.items() if key != "name"}


def _unknown_class(role: Role, name: str, path: Path, report: Report) -> None:
    names = [*(["auto"] if path == (role,) else []), *available(role)]
    hint = did_you_mean(_kebab(name, role), names)
    if name == "auto":
        hint = f"auto chooses everything and has no arguments: write {role}: auto"
    other: Role = "pruner" if role == "sampler" else "sampler"
    if hint is None and role in ("sampler", "pruner") and signature_of(name, other) is not None:
        hint = f"{name} is a {other}: write {other}: {name}"
    hint = hint or import_path_hint(name)
    message = f"no {role} is called {name[:60]}; there are {known_names(names)}"
    own = "a class of your own is package.module:Class"
    report.add(path, message, hint=hint or own)


def _kebab(name: str, role: Role) -> str:
    return re.sub(rf"[-_ ]?{role}$", "", display_name(name, role), flags=re.IGNORECASE)


def _unchecked(name: str, kwargs: _Arguments, path: Path, report: Report) -> ClassSpec:
    """A user's own class: only what is nested in it can be checked."""
    plain, nested = {}, {}
    for key, value in kwargs.items():
        inner = _NESTED_BY_NAME.get(key)
        if inner is not None and value is not None:
            spec = resolve_class(inner, value, (*path, key), report)
            if spec is not None:
                nested[key] = spec
        else:
            plain[key] = value
    return ClassSpec(name, plain, nested)


def _checked(signature: Signature, kwargs: _Arguments, path: Path, report: Report) -> ClassSpec:
    plain: _Arguments = {}
    nested: dict[str, ClassSpec] = {}
    functions: dict[str, str] = {}
    given: set[str] = set()
    for key, value in kwargs.items():
        parameter = _parameter(signature, key)
        where = (*path, key)
        if parameter is None:
            if signature.open:
                plain[key] = value
            else:
                _unknown_argument(signature, key, where, report)
            continue
        if parameter.name in given:
            report.add(where, f"{parameter.name} is given twice", at="key")
        given.add(parameter.name)
        if parameter.nested is not None and not (value is None and parameter.nullable):
            spec = resolve_class(parameter.nested, value, where, report)
            if spec is not None:
                nested[parameter.name] = spec
        elif isinstance(value, str) and _is_function(parameter, value, where, report):
            functions[parameter.name] = value
        elif _fits(signature, parameter, value, where, report):
            plain[parameter.name] = value
    for parameter in signature.parameters.values():
        if parameter.required and parameter.name not in given | _FILLED_IN:
            if parameter.nested is not None and parameter.nullable:
                plain[parameter.name] = None
            else:
                message = f"`{parameter.name}` is missing: {signature.row.class_name} needs it"
                report.add((*path, parameter.name), message)
    arguments = {**plain, **functions, **{name: spec.class_name for name, spec in nested.items()}}
    if report.sound(path):
        _keep_rules(signature.row, arguments, path, report)
    return ClassSpec(signature.row.import_path, plain, nested, functions)


def _keep_rules(row: Row, arguments: _Arguments, path: Path, report: Report) -> None:
    written = report.document.get(path)
    for rule in row.rules:
        if rule.broken(arguments):
            is_written = isinstance(written, dict) and rule.argument in written
            where = (*path, rule.argument) if is_written else path
            report.add(where, rule.message, hint=rule.hint)


def _parameter(signature: Signature, key: str) -> Parameter | None:
    if key in ("self", "build", "probe", "search_space"):
        return None
    parameters = signature.parameters
    return parameters.get(key) or parameters.get(_SHORT.get(key, key))


def _unknown_argument(signature: Signature, key: str, path: Path, report: Report) -> None:
    names = [name for name in signature.parameters if _parameter(signature, name)]
    if key in signature.parameters and key in _FILLED_IN:
        message = f"{key} is filled in when the study runs"
        hint: str | None = "remove it"
    else:
        takes = f"it takes {known_names(names)}" if names else "it takes no arguments"
        message = f"{signature.row.class_name} has no argument {key[:60]}; {takes}"
        hint = did_you_mean(key, names)
    report.add(path, message, hint=hint, at="key")


def _is_function(parameter: Parameter, value: str, path: Path, report: Report) -> bool:
    """Whether the value is a function's import path."""
    if not parameter.callable:
        return False
    if is_import_path(value):
        return True
    if "str" not in parameter.members:
        hint = import_path_hint(value)
        report.add(
            path, f"expected a function as package.module:name, got {describe(value)}", hint=hint
        )
    return False


def _fits(
    signature: Signature, parameter: Parameter, value: Plain, path: Path, report: Report
) -> bool:
    kinds = parameter.kinds
    if kinds is not None and not any(_TYPES[name][1](value) for name in kinds):
        names = [n for n in _TYPES if n in kinds and not (n == "int" and "float" in kinds)]
        expected = " or ".join(_TYPES[name][0] for name in names)
        report.add(path, f"expected {expected}, got {describe(value)}", hint=_whole(value, kinds))
        return False
    if isinstance(value, float) and not math.isfinite(value):
        report.add(path, f"expected a finite number, got {describe(value)}")
        return False
    if isinstance(value, int) and abs(value) >= 2**63:
        report.add(path, f"expected a number of at most 64 bits, got {describe(value)}")
        return False
    limit = signature.row.range_of(parameter.name)
    if limit is not None and value is not None and not limit.holds(value):
        report.add(path, f"expected {limit.expected}, got {describe(value)}")
        return False
    return True


def _whole(value: Plain, kinds: frozenset[str]) -> str | None:
    if isinstance(value, float) and value.is_integer() and "int" in kinds:
        return f"write {number(int(value))}"
    return None
