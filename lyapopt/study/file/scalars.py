"""Plain scalars by YAML 1.2's core schema, and `${ENV}` in strings."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

__all__ = ["EnvironmentReferenceError", "Scalar", "resolve_plain", "resolve_tagged", "substitute"]

Scalar = None | bool | int | float | str

_NULL = re.compile(r"~|null|Null|NULL|")
_TRUE = re.compile(r"true|True|TRUE")
_FALSE = re.compile(r"false|False|FALSE")
_INT = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NAN = re.compile(r"\.(nan|NaN|NAN)")

_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|[^}]*\}?)")


def resolve_plain(text: str) -> Scalar:
    """The value of an unquoted scalar: YAML 1.2, so `1e-5` is a number and `off` a string.

    >>> [resolve_plain(text) for text in ("1e-5", "off", "no", "017", "0o17", "12:30", "1_000", "")]
    [1e-05, 'off', 'no', 17, 15, '12:30', '1_000', None]
    """
    for pattern, value in ((_NULL, None), (_TRUE, True), (_FALSE, False)):
        if pattern.fullmatch(text):
            return value
    number = _number(text)
    return text if number is None else number


def resolve_tagged(text: str, tag: str) -> Scalar:
    """The value of a scalar tagged `!!str`, `!!int`, `!!float`, `!!bool` or `!!null`.

    Raises:
        ValueError: the text is no such value, or the tag is none of these.
    """
    if tag == "str":
        return text
    value = resolve_plain(text)
    kinds: dict[str, type] = {"int": int, "bool": bool, "null": type(None)}
    if tag == "float" and isinstance(value, int | float) and not isinstance(value, bool):
        return _to_float(value)
    if tag in kinds and type(value) is kinds[tag]:
        return value
    if tag in (*kinds, "float"):
        raise ValueError(f"not a value that !!{tag} can have")
    raise ValueError("a tag that study files do not use")


def _to_float(value: int | float) -> float:
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")


def _number(text: str) -> int | float | None:
    if len(text) > 1000:  # int() is quadratic, and no number is that long
        return None
    if _INT.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text):
        return int(text[2:], 8)
    if _HEX.fullmatch(text):
        return int(text[2:], 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return float("-inf" if text[0] == "-" else "inf")
    return float("nan") if _NAN.fullmatch(text) else None


class EnvironmentReferenceError(Exception):
    """A `${...}` that cannot be filled; `reference` is how it is written."""

    def __init__(self, message: str, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


def substitute(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Fills `${NAME}` and `${NAME:-default}`; the default also serves for an empty variable.

    `$${` stands for a literal `${`; a `$` that no `{` follows is left alone.

    Raises:
        EnvironmentReferenceError: a variable that is not set and has no default, or `${` that is
            not followed by a name and `}`.

    Example:
        >>> substitute("sqlite:///${DIR:-runs}/${NAME}.db", {"NAME": "digits"})
        'sqlite:///runs/digits.db'
    """
    variables = os.environ if environment is None else environment

    def fill(match: re.Match[str]) -> str:
        reference, name, default = match.group(0), match.group(1), match.group(2)
        if reference == "$${":
            return "${"
        if name is None:
            raise EnvironmentReferenceError(
                f"{reference} is not ${{NAME}} or ${{NAME:-default}}", reference
            )
        value = variables.get(name)
        if default is not None and not value:
            return str(default)
        if value is None:
            raise EnvironmentReferenceError(
                f"the environment variable {name} is not set", reference
            )
        return value

    return _REFERENCE.sub(fill, text)
