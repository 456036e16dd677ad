"""From a document to a `StudyFile`, or to every mistake in it, in the user's words."""

from __future__ import annotations

import math
import re

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from lyapopt.study.file.check_space import SPACE_CHECKS
from lyapopt.study.file.check_study import STUDY_CHECKS
from lyapopt.study.file.document import Document, Path, Plain, Report, StudyFileError, without
from lyapopt.study.file.entry_types import meant_type, option_type, report_unknown_type
from lyapopt.study.file.messages import (
    describe,
    described,
    did_you_mean,
    known_names,
    nearest,
    number,
)
from lyapopt.study.file.model import StudyFile
from lyapopt.study.file.sections import PARAMETERS, SECTIONS, keys_of
from lyapopt.study.file.stand_ins import with_stand_ins
from lyapopt.study.file.values import OWN_ERROR
from lyapopt.tasks.catalogue import TASKS, options_of

__all__ = ["check_document"]

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
_FINITE = "it has to be finite, for example 10"
_LIMITS = {
    "greater_than": ("gt", "above"),
    "greater_than_equal": ("ge", "of at least"),
    "less_than": ("lt", "below"),
    "less_than_equal": ("le", "of at most"),
}


def check_document(document: Document, default_name: str = "study") -> StudyFile:
    """The study that a document describes.

    Raises:
        StudyFileError: with every mistake of the document.
    """
    report = Report(document)
    assert isinstance(document.data, dict)
    data = with_stand_ins(document.data, document.broken, report)
    data.setdefault("study_name", default_name or "study")
    study = _validated(data, report)
    if study is not None:
        for check in (*SPACE_CHECKS, *STUDY_CHECKS):
            check(study, report)
    if report.issues or study is None:
        raise StudyFileError(report.issues)
    return study


def _validated(data: dict[str, Plain], report: Report) -> StudyFile | None:
    """Validates; what is wrong is reported and left out, so that the rest can be checked too.

    Leaving out a value may bring up a follow-up error. The report drops those, since it knows the
    path already.
    """
    for attempt in range(6):
        try:
            return StudyFile.model_validate(data, context=report)
        except ValidationError as error:
            wrong = _report_errors(error, report)
            if attempt >= 3:
                data = without(data, [path[:1] for path in wrong])
            else:
                data = with_stand_ins(data, wrong, report)
            data.setdefault("storage", "sqlite:///placeholder.db")
    return None


# pydantic's errors in the user's words


def _report_errors(error: ValidationError, report: Report) -> list[Path]:
    """Adds the errors of a validation to the report; returns what to leave out because of them."""
    wrong = []
    for detail in error.errors(include_url=False):
        path = _path(detail, report)
        _report_one(detail, path, report)
        in_space = path[0] == "search_space" if path else False
        is_missing = detail["type"] == "missing" and len(path) > 1 and not in_space
        wrong.append(path[:-1] if is_missing else path)
    return [path for path in wrong if path]


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
    error_type, context = detail["type"], detail.get("ctx", {})
    value = report.document.get(path, detail["input"])
    if error_type == OWN_ERROR and path[0] == "search_space" and "text" not in context:
        report_unknown_type(path, value, report)
    elif error_type == OWN_ERROR:
        report.add(path, str(context["text"]), hint=context.get("hint"))
    elif error_type == "extra_forbidden":
        _unknown_key(path, report)
    elif error_type == "missing":
        _missing(path, report)
    elif error_type == "literal_error":
        _not_one_of(path, value, str(context.get("expected", "")), report)
    elif error_type in _LIMITS:
        key, word = _LIMITS[error_type]
        limit = context[key]
        shown = f"{limit:g}" if isinstance(limit, float) else str(limit)
        whole = "a number" if isinstance(limit, float) else "a whole number"
        report.add(path, f"expected {whole} {word} {shown}, got {describe(value)}")
    elif error_type == "too_short" and not report.sound(path):
        return  # the list is short because its items are wrong, and they are reported
    elif error_type in _EXPECTED:
        message = f"expected {_EXPECTED[error_type]}, got {described(value, path, report)}"
        hint = _value_hint(error_type, value) or _fraction_hint(path, value, report)
        report.add(path, message, hint=hint)
    else:  # an error that no field of ours has today; pydantic puts its kind before it
        message = str(detail["msg"]).removeprefix("Value error, ")
        report.add(path, f"{message}, got {describe(value)}")


def _fields(path: Path, report: Report) -> list[str]:
    """The keys that the mapping at `path` may have."""
    if not path:
        return list(StudyFile.model_fields)
    if path[0] == "search_space" and len(path) == 2:
        name = meant_type(path, report.document)
        return [] if name is None else list(keys_of(PARAMETERS[name]))
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
    if not report.sound(path):  # it is there, and wrong
        return
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


def _not_one_of(path: Path, value: Plain, expected: str, report: Report) -> None:
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
    report.add(
        path,
        f"expected {' or '.join(_listed(names))}, got {described(value, path, report)}",
        hint=hint,
    )


def _listed(names: list[str]) -> list[str]:
    return [", ".join(names[:-1]), names[-1]] if len(names) > 1 else names


def _fraction_hint(path: Path, value: Plain, report: Report) -> str | None:
    """Where a bound or a step of a whole number is a fraction: probably a real number is meant."""
    if not isinstance(value, float) or path[0] != "search_space" or len(path) != 3:
        return None
    if path[-1] not in ("low", "high", "step"):
        return None
    if not math.isfinite(value):
        return _FINITE
    whole = option_type(path[:2], report.document) in ("int", "ints", "seed")
    return None if whole else "write type: float"


def _quoted_number_hint(error_type: str, value: str) -> str | None:
    """Where a text reads as a number: that of YAML has a dot, as `.inf` and `.nan`."""
    try:
        meant = float(value)
    except ValueError:
        return None
    if not math.isfinite(meant):
        return _FINITE
    if "_" in value:
        return f"write {value.replace('_', '')}"
    is_taken = error_type == "float_type" or meant.is_integer()
    return "without quotes it is a number" if is_taken else None


def _value_hint(error_type: str, value: Plain) -> str | None:
    if error_type in ("int_type", "int_from_float") and isinstance(value, float):
        return f"write {number(int(value))}" if value.is_integer() else None
    if isinstance(value, str) and error_type in ("int_type", "float_type"):
        return _quoted_number_hint(error_type, value)
    if error_type == "bool_type" and isinstance(value, str):
        words = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        meant = words.get(value.lower(), value.lower())
        return f"write {meant}" if meant in ("true", "false") else None
    if error_type in ("list_type", "tuple_type") and isinstance(value, str):
        return f"write [{value[:60]}]"
    if error_type in ("list_type", "tuple_type") and isinstance(value, dict):
        return "write [{...}], or one item a line, each with a dash"
    if error_type == "string_type" and isinstance(value, int | float):
        return "put it in quotes"
    return None
