"""Types of single values in the study file: durations, import paths, devices, storage URLs."""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from lyapopt.redaction import ENCODING_HINT, has_bare_at, has_lost_end, redacted
from lyapopt.settings import COUNT
from lyapopt.study.file.import_paths import import_path_hint, is_import_path
from lyapopt.study.file.messages import describe, did_you_mean

__all__ = [
    "OWN_ERROR",
    "SCALAR_SCHEMA",
    "Choices",
    "Count",
    "CountOrZero",
    "Device",
    "ImportPath",
    "Scalar",
    "Shape",
    "SqlUrl",
    "StorageUrl",
    "Timeout",
    "TrialsAtOnce",
    "WantedValues",
    "absolute_url",
    "fail",
    "parse_duration",
    "storage_problem",
]

# The modules of pydantic models go without `from __future__ import annotations`: pydantic would
# compile every annotation once more, and checking a file must answer at once.

OWN_ERROR = "lyapopt"
"""Type of validation errors whose message is already in the user's words."""


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


def _schema(*types: str, **extra: Any) -> Shape:
    return Shape({"type": list(types) if len(types) > 1 else types[0], **extra})


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


def warm_start_parts(text: str) -> tuple[str, str]:
    """Storage and name of the study that `warm_start` names.

    Example:
        >>> warm_start_parts("sqlite:///old.db#digits")
        ('sqlite:///old.db', 'digits')
    """
    url, _, name = text.partition("#")
    return url, name


def _warm_start(value: Any) -> Any:
    if not isinstance(value, str):
        fail(f"expected STORAGE#NAME, got {describe(value)}", _WARM_START)
    url, name = warm_start_parts(value)
    if not name:
        fail("the name of the study is missing: STORAGE#NAME", _WARM_START)
    problem = storage_problem(url)
    if problem is not None:
        fail(*problem)
    return value


_WARM_START = "for example sqlite:///runs/old.db#name"
WarmStart = Annotated[
    str, BeforeValidator(_warm_start), _schema("string", examples=["sqlite:///runs/old.db#name"])
]

Count = Annotated[int, Field(**COUNT)]
"""A whole number of at least 1."""
CountOrZero = Annotated[int, Field(ge=0, le=10**15)]
"""A whole number of at least 0."""


def _scalar(value: Any) -> Any:
    if isinstance(value, list | dict):
        fail(f"expected a number, a string, true, false or null, got {describe(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        fail(f"expected a finite number, got {describe(value)}")
    if isinstance(value, int) and abs(value) >= 2**63:
        fail("a number of more than 64 bits cannot be stored")
    return value


def _values(value: Any) -> Any:
    if value == []:
        fail("expected a value, or a list of values, got an empty list")
    return value if isinstance(value, list) else [value]


SCALAR_SCHEMA = {"type": ["number", "string", "boolean", "null"]}
Scalar = Annotated[Any, BeforeValidator(_scalar), Shape(SCALAR_SCHEMA)]
Choices = Annotated[tuple[Scalar, ...], Field(strict=False)]
WantedValues = Annotated[
    tuple[Scalar, ...],
    BeforeValidator(_values),
    Field(strict=False),
    Shape({"anyOf": [SCALAR_SCHEMA, {"type": "array", "items": SCALAR_SCHEMA, "minItems": 1}]}),
]

# storage URLs: one is never quoted whole, it may hold a password

_SQL = ("sqlite", "postgresql", "mysql", "mariadb")
_OTHER = ("journal", "grpc")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9]*)(?:\+([A-Za-z0-9_]+))?:(.*)", re.DOTALL)
_EXAMPLE = "for example sqlite:///runs/study.db"


def storage_problem(url: str, *, sql_only: bool = False) -> tuple[str, str | None] | None:
    """What is wrong with a storage URL, and what to do; None if its shape is right.

    Args:
        url: SQLAlchemy's form for databases, `journal:///path` for a journal file,
            `grpc://host:port` for Optuna's proxy.
        sql_only: journal and grpc are not enough (our own tables need SQL).

    Example:
        >>> storage_problem("sqlite:///runs/digits.db")
        >>> storage_problem("sqlite://runs/digits.db")[1]
        'write sqlite:///runs/digits.db'
    """
    match = _SCHEME.fullmatch(url.strip())
    if any(ord(character) < 32 for character in url.strip()):
        return "the storage URL has a control character in it", _EXAMPLE
    if not url.strip():
        return "the storage URL is empty", _EXAMPLE
    if match is None or len(match[1]) == 1:  # a letter and a colon is a Windows drive
        return "a storage is a URL, not a path", f"write sqlite:///{redacted(url.strip())[:80]}"
    scheme, rest = match[1].lower(), match[3]
    known = _SQL if sql_only else _SQL + _OTHER
    if scheme not in known:
        return _unknown(scheme, sql_only, known)
    if not rest.startswith("//"):
        return f"after {scheme}: there must be //", _EXAMPLE if scheme == "sqlite" else None
    rest = rest[2:]
    if scheme == "sqlite":
        return _sqlite(rest)
    if scheme == "journal":
        return _journal(rest)
    if scheme == "grpc":
        return (
            None if re.fullmatch(r"[^/\s]+:\d{1,5}", rest) else ("expected grpc://host:port", None)
        )
    if has_bare_at(url):
        return "the URL has more than one @", ENCODING_HINT
    if "/" not in rest or not rest.partition("/")[2].partition("?")[0]:
        return f"expected {scheme}://user:password@host/database", None
    return None


def absolute_url(url: str) -> str:
    """The URL of a file with its path made absolute; others as they are.

    Example:
        >>> absolute_url("sqlite:////data/study.db?timeout=5")
        'sqlite:////data/study.db?timeout=5'
        >>> absolute_url("sqlite:///study.db").startswith("sqlite:////")
        True
    """
    match = re.fullmatch(r"((?:sqlite|journal)[^:]*:///)([^?]*)(.*)", url)
    if match is None:
        return url
    path = Path(os.path.expanduser(match[2]))
    if path.is_absolute():
        return f"{match[1]}{path}{match[3]}"
    here = str(Path.cwd())
    if url.startswith("sqlite"):  # whose path is encoded, unlike that of a journal
        here = quote(here, safe="/:\\ ")
    return f"{match[1]}{Path(here) / path}{match[3]}"


def _unknown(scheme: str, sql_only: bool, known: tuple[str, ...]) -> tuple[str, str | None]:
    if sql_only and scheme in _OTHER:
        return f"our own tables need SQL, and {scheme} has none", _EXAMPLE
    names = ", ".join(known)
    return f"no storage is called {scheme[:40]}; there are {names}", did_you_mean(scheme, known)


def _sqlite(rest: str) -> tuple[str, str | None] | None:
    if has_lost_end(f"sqlite://{rest}"):
        return "the URL ends at its ?", "in the name of a file, write %3F for ?"
    path = rest.removeprefix("/").partition("?")[0]
    if path in ("", ":memory:"):
        return "a database in memory is lost when the program ends", _EXAMPLE
    if not rest.startswith("/"):
        return "a file's path comes after three slashes", f"write sqlite:///{path[:80]}"
    if path.endswith("/"):
        return "this is a folder: name a file in it", f"write sqlite:///{path[:80]}study.db"
    return None


def _journal(rest: str) -> tuple[str, str | None] | None:
    if not rest.startswith("/"):
        return "a file's path comes after three slashes", f"write journal:///{rest[:80]}"
    return None if rest.strip("/") else ("name a file", "for example journal:///runs/study.log")
