"""Validation errors in the user's words: what was expected, what is there, what was meant."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lyapopt.study.file.document import Path, Report
from lyapopt.study.file.messages import describe, did_you_mean, known_names, nearest, number
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.sections import PARAMETERS, SECTIONS, keys_of
from lyapopt.study.file.values import OWN_ERROR

__all__ = ["report_validation"]

_TYPE_HINTS = {
    "uniform": "write type: float",
    "loguniform": "write type: float with log: true",
    "log_uniform": "write type: float with log: true",
    "log": "write type: float with log: true",
    "real": "write type: float",
    "number": "write type: float",
    "double": "write type: float",
    "integer": "write type: int",
    "int_uniform": "write type: int",
    "range": "write type: int",
    "choice": "write type: categorical",
    "bool": "write type: categorical with choices: [true, false]",
    "constant": "write the value alone, without a mapping",
}
_KEY_HINTS = {
    "name": "study_name",
    "params": "search_space",
    "parameters": "search_space",
    "space": "search_space",
    "trials": "n_trials",
    "max_trials": "n_trials",
    "num_trials": "n_trials",
    "n_jobs": "workers",
    "num_workers": "workers",
    "concurrency": "trials_at_once",
    "database": "storage",
    "db": "storage",
    "goal": "direction",
    "scheduler": "pruner",
    "algorithm": "sampler",
    "initial": "enqueue",
    "points_to_evaluate": "enqueue",
    "min": "low",
    "max": "high",
    "lower": "low",
    "upper": "high",
    "values": "choices",
    "options": "choices",
    "q": "step",
    "epsilon": "radius",
    "steps": "horizon",
}
_EXPECTED = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing_size": "a whole number of reasonable size",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string",
    "dict_type": "a mapping",
    "list_type": "a list",
    "tuple_type": "a list",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
    "string_too_short": "a name, not an empty string",
    "string_too_long": "a name of at most 500 characters",
    "too_short": "a list that is not empty",
}
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}


def report_validation(error: ValidationError, report: Report) -> list[Path]:
    """Adds the errors of a validation to the report; returns their paths."""
    paths = []
    for detail in error.errors(include_url=False):
        path = _path(detail, report)
        _report_one(detail, path, report)
        paths.append(path)
    return paths


def _path(detail: ErrorDetails, report: Report) -> Path:
    """The path in the file: without the names that unions and short forms put in between."""
    loc: Path = tuple(detail["loc"])
    if len(loc) > 2 and loc[0] == "search_space":
        entry = report.document.get(loc[:2])
        rest = loc[3:]  # loc[2] is the entry's type
        if not isinstance(entry, dict):
            rest = rest[1:]  # `choices` of a plain list, `value` of a plain value
        loc = loc[:2] + rest
    return tuple(part for part in loc if part != "[key]")


def _report_one(detail: ErrorDetails, path: Path, report: Report) -> None:
    kind, context = detail["type"], detail.get("ctx", {})
    value = report.document.get(path, detail["input"])
    if kind == OWN_ERROR and path[0] == "search_space" and "text" not in context:
        _unknown_type(path, value, report)
    elif kind == OWN_ERROR:
        report.add(path, str(context["text"]), hint=context.get("hint"))
    elif kind == "extra_forbidden":
        _unknown_key(path, report)
    elif kind == "missing":
        _missing(path, report)
    elif kind == "literal_error":
        _not_one_of(path, value, str(context.get("expected", "")), report)
    elif kind in _LIMITS:
        key, word = _LIMITS[kind]
        limit = context[key]
        shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
        whole = "a number" if isinstance(limit, float) else "a whole number"
        report.add(path, f"expected {whole} {word} {shown}, got {describe(value)}")
    elif kind == "too_short" and not report.sound(path):
        return  # the list is short because its items are wrong, and they are reported
    elif kind in _EXPECTED:
        message = f"expected {_EXPECTED[kind]}, got {describe(value)}"
        report.add(path, message, hint=_value_hint(kind, value))
    else:  # a kind of error that no field of ours has today
        report.add(path, f"{detail['msg']}, got {describe(value)}")


def _fields(path: Path, report: Report) -> list[str]:
    """The keys that the mapping at `path` may have."""
    if not path:
        return list(StudyFile.model_fields)
    if path[0] == "search_space" and len(path) == 2:
        kind = report.document.get((*path, "type"))
        return list(keys_of(PARAMETERS[kind])) if kind in PARAMETERS else []
    section = SECTIONS.get(str(path[0])) if len(path) == 1 else None
    return list(keys_of(section)) if section is not None else []


def _unknown_key(path: Path, report: Report) -> None:
    key, known = str(path[-1]), _fields(path[:-1], report)
    hint = did_you_mean(key, known)
    synonym = _KEY_HINTS.get(key.lower())
    if synonym in known:
        hint = f"did you mean {synonym}?"
    if len(path) == 1 and synonym not in known:
        hint = _belongs_elsewhere(key) or hint
    if hint is None and len(path) > 1:
        hint = f"known keys: {known_names(known)}"
    report.add(path, f"unknown key {key[:60]}", hint=hint, at="key")


def _belongs_elsewhere(key: str) -> str | None:
    owners = [name for name, section in SECTIONS.items() if key in keys_of(section)]
    if owners:
        return f"{key} is a key of {owners[0]}: indent it under {owners[0]}:"
    from lyapopt.tasks.catalogue import TASKS, options_of

    if any(key in options_of(name, TASKS[name].models) for name in TASKS):
        return f"{key} is an option of the task or a parameter of the search space"
    return None


def _missing(path: Path, report: Report) -> None:
    hints = {
        "storage": "where results go, for example storage: sqlite:///runs/study.db",
        "low": "the smallest value",
        "high": "the largest value",
        "choices": "a list of values, for example choices: [relu, tanh]",
    }
    if _misspelt(path, report):  # the unknown key is an error already, and says what was meant
        report.broken.add(path)
        return
    report.add(path, f"`{path[-1]}` is missing", hint=hints.get(str(path[-1])))


def _misspelt(path: Path, report: Report) -> bool:
    """Whether a key stands there that probably is meant to be this one."""
    holder = report.document.get(path[:-1])
    known = _fields(path[:-1], report)
    others = [key for key in holder if key not in known] if isinstance(holder, dict) else []
    return any(
        _KEY_HINTS.get(key.lower()) == path[-1] or nearest(key, known) == path[-1] for key in others
    )


def _not_one_of(path: Path, value: Any, expected: str, report: Report) -> None:
    names = re.findall(r"'([^']*)'", expected) or [expected]
    hint = did_you_mean(value, names) if isinstance(value, str) else None
    if isinstance(value, bool) and set(names) >= {"on", "off"}:
        hint = f"write {'on' if value else 'off'}"
    if path == ("version",):
        hint = "this lyapopt reads version 1"
    if path and path[0] in ("direction", "directions") and hint is None:
        short = str(value).lower()[:3]
        hint = f"write {short}imize" if short in ("min", "max") else None
    if path == ("direction",) and isinstance(value, list):
        hint = "several directions: write directions:"
    report.add(path, f"expected {' or '.join(_listed(names))}, got {describe(value)}", hint=hint)


def _listed(names: list[str]) -> list[str]:
    return [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names


def _unknown_type(path: Path, value: Any, report: Report) -> None:
    known = known_names(PARAMETERS)
    kind = value.get("type") if isinstance(value, dict) else None
    if isinstance(value, dict) and "type" not in value:
        hint = _guess_type(value)
        report.add((*path, "type"), f"`type` is missing: one of {known}", hint=hint)
        return
    hint = None
    if isinstance(kind, str):
        hint = _TYPE_HINTS.get(kind.lower().replace("-", "_")) or did_you_mean(kind, PARAMETERS)
    report.add((*path, "type"), f"expected one of {known}, got {describe(kind)}", hint=hint)


def _guess_type(entry: dict[str, Any]) -> str | None:
    if "choices" in entry or "values" in entry:
        return "write type: categorical"
    bounds = [entry.get(key) for key in ("low", "high", "min", "max") if key in entry]
    if not bounds:
        return None
    whole = all(isinstance(bound, int) and not isinstance(bound, bool) for bound in bounds)
    return "write type: int" if whole else "write type: float"


def _value_hint(kind: str, value: Any) -> str | None:
    if kind in ("int_type", "int_from_float") and isinstance(value, float) and value.is_integer():
        return f"write {number(int(value))}"
    if isinstance(value, str) and kind in ("int_type", "float_type"):
        try:
            float(value)
        except ValueError:
            return None
        return "without quotes it is a number"
    if kind == "bool_type" and isinstance(value, str):
        words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        meant = words.get(value.lower(), value.lower())
        return f"write {meant}" if meant in ("true", "false") else None
    if kind in ("list_type", "tuple_type") and isinstance(value, str):
        return f"write [{value[:60]}]"
    if kind in ("list_type", "tuple_type") and isinstance(value, dict):
        return "write [{...}], or one item a line, each with a dash"
    if kind == "string_type" and isinstance(value, int | float):
        return "put it in quotes"
    return None
