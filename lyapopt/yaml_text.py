"""Plain data as YAML that every parser reads alike.

A general writer takes ten seconds for ten thousand trials. Words are written bare only where
neither YAML 1.1 nor 1.2 takes them for something else, numbers so that both take them for numbers.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from lyapopt.display import printable

__all__ = ["flow", "yaml_lines"]

_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*")
_NOT_WORDS = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null", "nan", "inf"})


def yaml_lines(data: Any) -> list[str]:
    """A mapping or a list of mappings, nested as they come, as lines of block style.

    Example:
        >>> print("\\n".join(yaml_lines({"lr": 1e-5, "params": {"name": "off", "to": "relu"}})))
        lr: 1.0e-05
        params:
          name: "off"
          to: relu
    """
    if isinstance(data, Mapping) and data:
        return [line for name, value in data.items() for line in _entry(str(name), value)]
    if isinstance(data, Sequence) and not isinstance(data, str) and data:
        return [line for item in data for line in _item(item)]
    return [_scalar(data)]


def flow(data: Any) -> str:
    """Mappings and lists of scalars in one line.

    Example:
        >>> flow({"name": "lyapunov", "wrapped": {"name": "median"}, "hot": 0.1})
        '{name: lyapunov, wrapped: {name: median}, hot: 0.1}'
    """
    if isinstance(data, Mapping):
        return "{" + ", ".join(f"{_scalar(k)}: {flow(v)}" for k, v in data.items()) + "}"
    if isinstance(data, list | tuple):
        return "[" + ", ".join(map(flow, data)) + "]"
    return _scalar(data)


def _entry(name: str, value: Any) -> list[str]:
    lines = yaml_lines(value)
    if isinstance(value, Mapping | list | tuple) and value:
        return [f"{_scalar(name)}:", *(f"  {line}" for line in lines)]
    return [f"{_scalar(name)}: {lines[0]}"]


def _item(item: Any) -> list[str]:
    first, *others = yaml_lines(item)
    return [f"- {first}", *(f"  {line}" for line in others)]


def _scalar(value: Any) -> str:
    if isinstance(value, str):  # YAML has the escapes of `printable`: the data stay exact
        is_word = _WORD.fullmatch(value) is not None and value.lower() not in _NOT_WORDS
        return value if is_word else printable(json.dumps(value, ensure_ascii=False))
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, default=str)


def _number(value: float) -> str:
    if math.isnan(value):
        return ".nan"
    if math.isinf(value):
        return ".inf" if value > 0 else "-.inf"
    mantissa, exponent, power = repr(float(value)).partition("e")
    return f"{mantissa if '.' in mantissa else mantissa + '.0'}{exponent}{power}"
