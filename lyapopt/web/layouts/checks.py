"""From a document to a `Layout`, or to every mistake in it, in the words of study files."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, get_type_hints

from lyapopt.figures.registry import FIGURES, TABLES, FigureSpec
from lyapopt.study.file.document import Document, Path, Plain, Report, StudyFileError
from lyapopt.study.file.messages import describe, did_you_mean, known_names
from lyapopt.web.layouts.model import Filter, Layout, Panel

__all__ = ["OWN_FILTERS", "PANEL_KEYS", "argument_types", "check_layout"]

OWN_FILTERS: Final = ("state", "verdict")
"""Filters that every study has; the others are its categorical parameters."""

PANEL_KEYS: Final = {"name": "The figure.", "wide": "Whether it takes the whole width."}
"""Keys of an entry of `figures` that are not arguments of the figure."""

_LONGEST: Final = 200
_MOST: Final = 40
_NAMES: Final = {str: "a string", bool: "true or false", int: "a whole number", float: "a number"}


def check_layout(document: Document, name: str) -> Layout:
    """The dashboard that a document describes.

    Args:
        document: A dashboard file that was read.
        name: What it is called in an address.

    Raises:
        StudyFileError: With every mistake of the document.
    """
    report = Report(document)
    data = document.data
    assert isinstance(data, dict)
    for key in data:
        if key not in KEYS:
            near = did_you_mean(key, KEYS) or f"known keys: {known_names(KEYS)}"
            report.add((key,), f"unknown key {key[:60]}", hint=near, at="key")
    if "figures" not in data:
        hint = "the figures from top to bottom, for example figures: [exponent_against_rate]"
        report.add((), "`figures` is missing", hint=hint)
    found = {key: check(data[key], (key,), report) for key, (check, _) in KEYS.items()
             if key in data}  # fmt: skip
    if report.issues:
        raise StudyFileError(report.issues)
    return Layout(
        name=name,
        title=found.get("title") or name,
        panels=found["figures"],
        filters=found.get("filters", ()),
        description=found.get("description", ""),
        several=found.get("studies") == "several",
    )


def argument_types(spec: FigureSpec) -> dict[str, tuple[type, ...]]:
    """Arguments of a figure that a file can give, with the types of values that each takes.

    Example:
        >>> argument_types(FIGURES["separations"])["trial"]
        (<class 'int'>, <class 'NoneType'>)
    """
    hints = get_type_hints(spec.function)
    found = {}
    for name in inspect.signature(spec.function).parameters:
        if name in TABLES or name in PANEL_KEYS:
            continue
        hint = hints[name]
        is_union = isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union
        several = typing.get_args(hint) if is_union else (hint,)
        plain = tuple(dict if _is_mapping(each) else each for each in several)
        if all(each in (*_NAMES, dict, types.NoneType) for each in plain):
            found[name] = plain
    return found


def _is_mapping(hint: Any) -> bool:
    origin = typing.get_origin(hint)
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _version(value: Plain, path: Path, report: Report) -> None:
    if value != 1 or isinstance(value, bool):
        report.add(path, f"expected 1, got {describe(value)}", hint="this lyapopt reads version 1")


def _text(value: Plain, path: Path, report: Report) -> str:
    if not isinstance(value, str):
        report.add(path, f"expected a string, got {describe(value)}")
        return ""
    if len(value) > _LONGEST:
        report.add(path, f"expected a string of at most {_LONGEST} characters, got {len(value)}")
    return value


def _studies(value: Plain, path: Path, report: Report) -> str:
    if value not in ("one", "several"):
        hint = did_you_mean(value, ["one", "several"]) if isinstance(value, str) else None
        report.add(path, f"expected one or several, got {describe(value)}", hint=hint)
    return str(value)


def _list(value: Plain, path: Path, report: Report) -> Sequence[Plain]:
    if not isinstance(value, list) or not value:
        report.add(path, f"expected a list that is not empty, got {describe(value)}")
        return ()
    if len(value) > _MOST:
        report.add(path, f"expected at most {_MOST} entries, got {len(value)}")
    return value[:_MOST]


def _figures(value: Plain, path: Path, report: Report) -> tuple[Panel, ...]:
    found = [_panel(each, (*path, i), report) for i, each in enumerate(_list(value, path, report))]
    return tuple(each for each in found if each is not None)


def _panel(value: Plain, path: Path, report: Report) -> Panel | None:
    if isinstance(value, str):
        value, named = {"name": value}, path
    elif isinstance(value, dict):
        named = (*path, "name")
    else:
        report.add(path, f"expected the name of a figure, or a mapping, got {describe(value)}")
        return None
    name = value.get("name")
    if name is None:
        hint = "for example {name: trainability_map, x: params_lr}"
        report.add(path, "`name` is missing: which figure", hint=hint)
        return None
    if not isinstance(name, str) or name not in FIGURES:
        near = did_you_mean(name, FIGURES) if isinstance(name, str) else None
        message = f"there is no figure {describe(name)}"
        report.add(named, message, hint=near or f"there are: {known_names(FIGURES)}")
        return None
    wide = value.get("wide", False)
    if not isinstance(wide, bool):
        report.add((*path, "wide"), f"expected true or false, got {describe(wide)}")
    known = argument_types(FIGURES[name])
    arguments = {key: each for key, each in value.items() if key not in PANEL_KEYS}
    for key, each in arguments.items():
        if key not in known:
            near = did_you_mean(key, [*known, *PANEL_KEYS])
            message = f"figure {name} has no argument {key[:60]}"
            hint = near or f"it has: {known_names(known)}"
            report.add((*path, key), message, hint=hint, at="key")
        elif not _fits(each, known[key]):
            expected = " or ".join(_NAMES.get(t, "a mapping") for t in known[key]
                                   if t is not types.NoneType)  # fmt: skip
            report.add((*path, key), f"expected {expected}, got {describe(each)}")
    return Panel(name, arguments, wide is True)


def _fits(value: Plain, expected: tuple[type, ...]) -> bool:
    if isinstance(value, bool):
        return bool in expected
    return isinstance(value, expected) or (float in expected and isinstance(value, int))


def _filters(value: Plain, path: Path, report: Report) -> tuple[Filter, ...]:
    found: list[Filter] = []
    for i, each in enumerate(_list(value, path, report)):
        one = _filter(each, (*path, i), report)
        if one is not None and one.name in [other.name for other in found]:
            report.add((*path, i), f"the filter {one.name[:60]} is here twice")
        elif one is not None:
            found.append(one)
    return tuple(found)


def _filter(value: Plain, path: Path, report: Report) -> Filter | None:
    if isinstance(value, str):
        return Filter(value)
    if not isinstance(value, dict) or not isinstance(value.get("name"), str):
        hint = "for example activation, or {name: state, only: [complete]}"
        report.add(path, f"expected what to filter by, got {describe(value)}", hint=hint)
        return None
    for key in value:
        if key not in ("name", "only"):
            near = did_you_mean(key, ["name", "only"])
            report.add((*path, key), f"unknown key {key[:60]}", hint=near, at="key")
    only = value.get("only", [])
    if not isinstance(only, list) or not all(isinstance(each, str) for each in only):
        report.add((*path, "only"), f"expected a list of strings, got {describe(only)}")
        only = []
    return Filter(str(value["name"]), tuple(str(each) for each in only))


KEYS: Final[Mapping[str, tuple[Callable[[Plain, Path, Report], Any], str]]] = {
    "version": (_version, "Version of this format."),
    "title": (_text, "What the page is called; the file's name if left out."),
    "description": (_text, "A line or two under the title."),
    "studies": (_studies, "Whether the page shows one study, or several beside each other."),
    "filters": (_filters, "What trials can be chosen by: state, verdict, a categorical parameter."),
    "figures": (_figures, "The figures from top to bottom, each a name, or name and arguments."),
}
"""The keys of a dashboard file: how each is checked, and what it says."""
