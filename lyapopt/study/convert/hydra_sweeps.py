"""Sweeps in Hydra's grammar of overrides, as its Optuna sweeper takes them."""

from __future__ import annotations

import re
from typing import Any

from lyapopt.study.convert.carried import Entry, range_entry
from lyapopt.study.file.document import Source
from lyapopt.study.file.reading import parse_yaml

__all__ = ["hydra_sweep"]

Sweep = Entry | list[Any]

_CALL = re.compile(r"([a-z]+)\s*\((.*)\)", re.DOTALL)
_KEYWORD = re.compile(r"([a-z]+)\s*=(.*)", re.DOTALL)


def hydra_sweep(name: str, text: str, left: list[str]) -> Sweep | None:
    """The entry that a sweep becomes; `None` if it is none of these.

    Args:
        name: Of the parameter.
        text: `range`, `interval`, `choice` or plain `a, b`, also within `int`, `tag` and the like.
        left: Where what could not be carried over is said.

    Example:
        >>> hydra_sweep("k", "range(1, 4)", [])
        {'type': 'int', 'low': 1, 'high': 4}
        >>> hydra_sweep("k", "tag(log, int(interval(1, 8)))", [])
        {'type': 'int', 'low': 1, 'high': 8, 'log': True}
    """
    call = _CALL.fullmatch(text.strip())
    if call is None:
        choices = _parts(text)
        return [_value(choice) for choice in choices] if len(choices) > 1 else None
    function, parts = call[1], _parts(call[2])
    if function == "choice":
        return [_value(part) for part in parts]
    if function == "range":
        return _range(parts)
    if function == "interval" and len(parts) == 2:
        low, high = _bounds(parts, ("start", "end"))
        return range_entry(low, high, log=False, whole=False, step=None)
    if function in ("int", "float") and len(parts) == 1:
        return _cast(hydra_sweep(name, parts[0], left), whole=function == "int")
    if function == "tag" and parts:
        return _tagged(name, parts, left)
    if function in ("shuffle", "sort") and parts:
        return _listed(hydra_sweep(name, parts[0], left))
    return None


def _range(parts: list[str]) -> Entry | None:
    """The sweeper's ranges end with their end: they become distributions of Optuna's."""
    if not 1 <= len(parts) <= 3:
        return None
    if len(parts) == 1 and "=" not in parts[0]:
        parts = ["0", *parts]
    low, high, step = _bounds(parts, ("start", "stop", "step"))
    whole = not any(isinstance(number, float) for number in (low, high, step))
    return range_entry(low, high, log=False, whole=whole, step=step)


def _bounds(parts: list[str], names: tuple[str, ...]) -> list[Any]:
    """Arguments in the order of their names; those with defaults follow."""
    given: dict[str, Any] = {}
    for position, part in enumerate(parts):
        keyword = _KEYWORD.fullmatch(part)
        key, text = keyword.groups() if keyword else (names[position], part)
        given[key] = _value(text)
    defaults = {"start": 0, "step": 1}
    return [given.get(name, defaults.get(name)) for name in names]


def _cast(entry: Sweep | None, whole: bool) -> Sweep | None:
    kind = int if whole else float
    if isinstance(entry, list):
        return [kind(item) for item in entry]
    if isinstance(entry, dict):
        numbers = {key: kind(entry[key]) for key in ("low", "high", "step") if key in entry}
        return entry | {"type": kind.__name__} | numbers
    return None


def _tagged(name: str, parts: list[str], left: list[str]) -> Sweep | None:
    """`tag(log, interval(...))`: words, then what they are said of; of other words none is read."""
    entry = hydra_sweep(name, parts[-1], left)
    for word in parts[:-1]:
        if isinstance(entry, dict) and "interval" in parts[-1] and word in ("log", "int"):
            entry = entry | {"log": True} if word == "log" else _cast(entry, whole=True)
        else:
            left.append(f"{name}: the tag {word} has no counterpart")
    return entry


def _listed(entry: Sweep | None) -> list[Any] | None:
    """In any order these are choices, and a range of them ends before its end."""
    if not isinstance(entry, dict) or entry["type"] != "int":
        return entry if isinstance(entry, list) else None
    return list(range(entry["low"], entry["high"], entry.get("step", 1)))


def _parts(text: str) -> list[str]:
    """Split at the commas that are in no brackets and no quotes."""
    parts, depth = [""], 0
    for token in re.findall(r"\"[^\"]*\"|'[^']*'|.", text, re.DOTALL):
        depth += (token in "([{") - (token in ")]}")
        if token == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += token
    return [part.strip() for part in parts if part.strip()]


def _value(text: str) -> Any:
    return parse_yaml(text.strip(), Source("sweep")).data
