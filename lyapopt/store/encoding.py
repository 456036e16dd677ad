"""How single values are kept in a column: numbers that are not finite, JSON, text."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np

NONFINITE_KINDS: Final = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}

_TAG = "$float"


def split_float(value: float | None) -> tuple[float | None, str | None]:
    """A number as the pair of columns `(value, kind)`.

    MySQL's DOUBLE takes neither NaN nor infinities, so these are NULL and their kind. A finite
    number has no kind, and a missing one neither value nor kind.

    Example:
        >>> split_float(0.5), split_float(float("-inf")), split_float(None)
        ((0.5, None), (None, '-inf'), (None, None))
    """
    if value is None:
        return None, None
    number = float(value)
    if math.isfinite(number):
        return number, None
    return None, "nan" if math.isnan(number) else "inf" if number > 0 else "-inf"


def join_float(value: float | None, kind: str | None) -> float | None:
    """The number that `split_float` was given."""
    return value if kind is None else NONFINITE_KINDS[kind]


def to_json(value: Any) -> str:
    """JSON text that every database's JSON functions can read: `NaN` is not JSON.

    Example:
        >>> to_json({"a": float("inf"), "b": np.float32(0.5)})
        '{"a": {"$float": "inf"}, "b": 0.5}'
    """
    return json.dumps(_plain(value), allow_nan=False)


def from_json(text: str) -> Any:
    """The value that `to_json` was given, tuples as lists."""
    return json.loads(text, object_hook=_untag)


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic | np.ndarray):
        value = value.tolist()
    if isinstance(value, float) and not math.isfinite(value):
        return {_TAG: split_float(value)[1]}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    return str(value)  # paths, dtypes, enumerations: settings are kept to be read by people


def _untag(item: dict[str, Any]) -> Any:
    return NONFINITE_KINDS[item[_TAG]] if item.keys() == {_TAG} else item


def to_text(text: str) -> str:
    """Text that every database takes: no NUL (PostgreSQL), no lone surrogates (all of them)."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()
