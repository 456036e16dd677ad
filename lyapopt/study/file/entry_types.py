"""Which type of parameter is meant by an entry of the search space that does not say it right."""

from __future__ import annotations

import re
from collections.abc import Mapping

from lyapopt.study.file.document import Document, Path, Plain, Report
from lyapopt.study.file.messages import describe, did_you_mean, known_names, nearest
from lyapopt.study.file.sections import PARAMETERS
from lyapopt.tasks.catalogue import TASKS, options_of

__all__ = ["meant_type", "option_type", "report_unknown_type"]

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
_CHOICES = ("choices", "values", "options")
_BOUNDS = ("low", "high", "min", "max", "lower", "upper")
_STEPS = ("step", "q")


def meant_type(path: Path, document: Document) -> str | None:
    """The type of an entry as far as it can be told, also where it is misspelt or missing.

    Args:
        path: of the entry.
        document: the study file.
    """
    entry = document.get(path)
    if not isinstance(entry, dict):
        return None
    if "type" not in entry:
        return _guess(entry, str(path[-1]), option_type(path, document))
    written = entry["type"]
    if not isinstance(written, str) or written in PARAMETERS:
        return written if isinstance(written, str) else None
    named = re.match(r"write type: (\w+)", _TYPE_HINTS.get(_form(written), ""))
    return named[1] if named is not None else nearest(written, PARAMETERS)


def option_type(path: Path, document: Document) -> str | None:
    """The type of the option of a built-in task that an entry varies; None if there is none."""
    task = document.get(("task", "name"), document.get(("task",)))
    if not isinstance(task, str) or task not in TASKS:
        return None
    option = options_of(task, TASKS[task].models).get(str(path[-1]))
    return None if option is None else option.type


def _guess(entry: Mapping[str, Plain], name: str, option: str | None) -> str | None:
    if any(key in entry for key in _CHOICES):
        return "categorical"
    if not any(key in entry for key in _BOUNDS):
        return None
    numbers = [entry[key] for key in (*_BOUNDS, *_STEPS) if key in entry]
    if any(isinstance(n, bool) or not isinstance(n, int) for n in numbers) or option == "float":
        return "float"
    if name == "seed" or name.endswith("_seed"):
        return "seed"
    return "float" if entry.get("log") is True and option is None else "int"


def report_unknown_type(path: Path, value: Plain, report: Report) -> None:
    """Notes that an entry has no type, or none that there is, with the one that is meant."""
    known = known_names(PARAMETERS)
    meant = meant_type(path, report.document)
    if isinstance(value, dict) and "type" not in value:
        hint = None if meant is None else f"write type: {meant}"
        if list(value) == ["value"]:
            hint = "write the value alone, without a mapping"
        report.add((*path, "type"), f"`type` is missing: one of {known}", hint=hint)
        return
    name = value.get("type") if isinstance(value, dict) else None
    hint = None
    if isinstance(name, str):
        hint = _TYPE_HINTS.get(_form(name)) or did_you_mean(name, PARAMETERS)
    report.add((*path, "type"), f"expected one of {known}, got {describe(name)}", hint=hint)


def _form(name: str) -> str:
    return name.lower().replace("-", "_")
