"""Ranges as other tools write them in one text: Hydra, Ray Tune, Orion, Guild, NumPy."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["foreign_notation"]

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_CALL = re.compile(r"~?\s*(?:[A-Za-z_]\w*\.)*([A-Za-z_]\w*)\s*[(\[](.*)[)\]]", re.DOTALL)
_RANGE = re.compile(rf"[(\[]?\s*({_NUMBER})\s*\.\.\.?\s*({_NUMBER})\s*[)\]]?")
_LIST = re.compile(rf"{_NUMBER}(?:\s*,\s*{_NUMBER})+")
_REAL = {"interval", "uniform", "float", "real", "quniform", "linspace"}
_LOGARITHMIC = {"loguniform", "log_uniform", "qloguniform", "reciprocal"}
_WHOLE = {"range", "randint", "int", "integer", "qrandint", "arange", "lograndint"}
_CHOICE = {"choice", "choices", "categorical", "grid", "grid_search", "shuffle", "sort", "one_of"}
_OTHERS = {"tag", "glob", "normal", "lognormal", "randn", "logspace", "geomspace", "sample_from"}
_SUGGEST = "suggest_"


def foreign_notation(text: str) -> str | None:
    """How to write what another tool would read as a range or choice; None if it is a plain text.

    >>> foreign_notation("tag(log, interval(0.001, 1))")
    '{type: float, low: 0.001, high: 1, log: true}'
    >>> foreign_notation("choice(relu, tanh)"), foreign_notation("relu")
    ('[relu, tanh]', None)
    """
    if len(text) > 2000:
        return None
    text = text.strip()
    bounds = _RANGE.fullmatch(text)
    if bounds is not None:
        number = "float" if re.search(r"[.eE]", bounds[1] + bounds[2]) else "int"
        return f"{{type: {number}, low: {bounds[1]}, high: {bounds[2]}}}"
    if _LIST.fullmatch(text):
        return f"[{', '.join(part.strip() for part in text.split(','))}]"
    call = _CALL.fullmatch(text)
    if call is None:
        return None
    name, inside = call[1].lower(), call[2].strip()
    name = name.removeprefix(_SUGGEST)
    if name == "tag":
        return _tagged(inside)
    if name not in _REAL | _LOGARITHMIC | _WHOLE | _CHOICE | _OTHERS:
        return None
    return _as_entry(name, inside)


def _tagged(inside: str) -> str:
    """Hydra's `tag(log, int, interval(1, 10))`: words, then what they are said of."""
    begin = re.search(r"[A-Za-z_]\w*\s*\(", inside)
    words = [] if begin is None else [w.strip() for w in inside[: begin.start()].split(",")]
    entry = None if begin is None else foreign_notation(inside[begin.start() :])
    if entry is None:
        return _as_entry("interval", "")
    if "int" in words:
        entry = entry.replace("type: float", "type: int")
    if "log" in words and "type:" in entry and "log: true" not in entry:
        entry = entry.replace("}", ", log: true}")
    return entry


def _as_entry(name: str, inside: str) -> str:
    numbers = re.findall(_NUMBER, inside)
    if name in _CHOICE:
        nested = foreign_notation(inside)
        if nested is not None:
            return nested
        if re.search(r"[(\[]", inside[1:]):
            return "for example [relu, tanh]"
        items = [part.strip().strip("[]()") for part in inside.split(",")]
        return f"[{', '.join(item for item in items if item)[:80]}]"
    if name in _WHOLE and name != "lograndint":
        return _range(numbers)
    logarithmic = name in _LOGARITHMIC or name == "lograndint"
    number = "int" if name == "lograndint" else "float"
    plain = re.fullmatch(rf"\s*{_NUMBER}\s*[,:]\s*{_NUMBER}\s*", inside) is not None
    low, high = numbers[:2] if plain and name not in _OTHERS else ("1e-4", "1.0")
    example = "" if plain and name not in _OTHERS else "for example "
    return f"{example}{{type: {number}, low: {low}, high: {high}{', log: true' * logarithmic}}}"


def _range(numbers: Sequence[str]) -> str:
    """Python's and Hydra's ranges end before their end, and may begin at 0."""
    if not numbers or not all(re.fullmatch(r"[-+]?\d+", number) for number in numbers):
        return "for example {type: int, low: 1, high: 10}"
    low, end = (0, int(numbers[0])) if len(numbers) == 1 else (int(numbers[0]), int(numbers[1]))
    step = f", step: {numbers[2]}" if len(numbers) > 2 else ""
    return f"{{type: int, low: {low}, high: {end - 1}{step}}}"
