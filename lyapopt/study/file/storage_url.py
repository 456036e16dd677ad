"""The shape of storage URLs; a URL is never quoted whole, it may hold a password."""

from __future__ import annotations

import re
from pathlib import Path

from lyapopt.study.file.messages import did_you_mean

__all__ = ["absolute_url", "storage_problem"]

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
        return "a storage is a URL, not a path", f"write sqlite:///{url.strip()[:80]}"
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
    return f"{match[1]}{Path(match[2]).absolute()}{match[3]}"


def _unknown(scheme: str, sql_only: bool, known: tuple[str, ...]) -> tuple[str, str | None]:
    if sql_only and scheme in _OTHER:
        return f"our own tables need SQL, and {scheme} has none", _EXAMPLE
    names = ", ".join(known)
    return f"no storage is called {scheme[:40]}; there are {names}", did_you_mean(scheme, known)


def _sqlite(rest: str) -> tuple[str, str | None] | None:
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
