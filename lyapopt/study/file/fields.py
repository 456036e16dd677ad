"""Types of single values in the study file: durations, import paths, devices, storage URLs."""

import re
from collections.abc import Callable
from typing import Annotated, Any, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from lyapopt.study.file.import_paths import import_path_hint, is_import_path
from lyapopt.study.file.messages import describe
from lyapopt.study.file.storage_url import storage_problem

__all__ = [
    "OWN_ERROR",
    "Count",
    "CountOrZero",
    "Device",
    "ImportPath",
    "Section",
    "Shape",
    "SqlUrl",
    "StorageUrl",
    "Timeout",
    "TrialsAtOnce",
    "fail",
    "parse_duration",
]

# The modules of pydantic models go without `from __future__ import annotations`: pydantic would
# compile every annotation once more, and checking a file must answer at once.

OWN_ERROR = "lyapopt"
"""Type of validation errors whose message is already in the user's words."""


class Section(BaseModel):
    """A mapping of the study file: unknown keys are errors, and types are taken strictly."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class Shape:
    """How a field looks in JSON Schema.

    As `pydantic.WithJsonSchema`, whose module takes long to import and is needed for nothing else.
    """

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Called by pydantic when the JSON Schema is made."""
        return dict(self.schema)


def fail(message: str, hint: str | None = None) -> NoReturn:
    """Refuses a value with a message of our own.

    Raises:
        PydanticCustomError: always.
    """
    raise PydanticCustomError(OWN_ERROR, "{text}", {"text": message, "hint": hint})


_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"(?:\d+(?:\.\d+)?[smhd]\s*)+")
_PART = re.compile(r"(\d+(?:\.\d+)?)([smhd])")


def parse_duration(text: str) -> float | None:
    """Seconds of a duration such as `20m`, `1h30m`, `45s`, `2d`; None if it is none.

    >>> parse_duration("1h30m"), parse_duration("2d"), parse_duration("soon")
    (5400.0, 172800.0, None)
    """
    if len(text) > 40 or not _DURATION.fullmatch(text.strip()):
        return None
    return float(sum(float(amount) * _UNITS[unit] for amount, unit in _PART.findall(text)))


def _timeout(value: Any) -> Any:
    expected = "seconds, or a duration such as 20m, 1h30m, 45s or 2d"
    if isinstance(value, str):
        seconds = parse_duration(value)
        if seconds is None:
            fail(f"expected {expected}, got {describe(value)}")
        value = seconds
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e10:
        fail(f"expected {expected}, got {describe(value)}")
    return float(value)


def _import_path(value: Any) -> Any:
    if not isinstance(value, str) or not is_import_path(value):
        hint = import_path_hint(value) if isinstance(value, str) else None
        fail(f"expected an import path, package.module:name, got {describe(value)}", hint)
    return value


def _device(value: Any) -> Any:
    if not isinstance(value, str) or not re.fullmatch(r"auto|cpu|mps|(cuda|xpu)(:\d{1,3})?", value):
        hint = "did you mean cuda?" if value in ("gpu", "GPU") else None
        fail(f"expected auto, cpu, cuda, cuda:0, mps or xpu, got {describe(value)}", hint)
    return value


def _trials_at_once(value: Any) -> Any:
    if value is None or value == "auto":
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 1_000_000:
        fail(f"expected a whole number of at least 1, or auto, got {describe(value)}")
    return value


def _url(sql_only: bool) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, str):
            fail(f"expected a URL such as sqlite:///runs/study.db, got {describe(value)}")
        problem = storage_problem(value, sql_only=sql_only)
        if problem is not None:
            fail(*problem)
        return value

    return check


def _schema(*kinds: str, **extra: Any) -> Shape:
    return Shape({"type": list(kinds) if len(kinds) > 1 else kinds[0], **extra})


Timeout = Annotated[
    float | None,
    BeforeValidator(_timeout),
    _schema("number", "string", "null", examples=["20m", "1h30m", 600]),
]
ImportPath = Annotated[
    str,
    BeforeValidator(_import_path),
    _schema("string", pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$"),
]
Device = Annotated[
    str,
    BeforeValidator(_device),
    _schema(
        "string", pattern=r"^(auto|cpu|mps|(cuda|xpu)(:\d{1,3})?)$", examples=["auto", "cuda:0"]
    ),
]
TrialsAtOnce = Annotated[
    int | None,
    BeforeValidator(_trials_at_once),
    Shape({"anyOf": [{"type": "integer", "minimum": 1}, {"const": "auto"}, {"type": "null"}]}),
]
StorageUrl = Annotated[
    str,
    BeforeValidator(_url(sql_only=False)),
    _schema("string", examples=["sqlite:///runs/study.db"]),
]
SqlUrl = Annotated[
    str,
    BeforeValidator(_url(sql_only=True)),
    _schema("string", examples=["sqlite:///runs/lyapopt.db"]),
]

Count = Annotated[int, Field(ge=1, le=10**15)]
"""A whole number of at least 1."""
CountOrZero = Annotated[int, Field(ge=0, le=10**15)]
"""A whole number of at least 0."""
