"""Database URLs as people write them: home folders, drivers, and what must be encoded."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Final

import sqlalchemy

__all__ = ["as_text", "completed", "sqlite_url"]

# Backend -> SQLAlchemy's driver where the URL names none, and drivers that serve as well.
_DRIVERS: Final = {
    "mysql": ("MySQLdb", "pymysql"),
    "mariadb": ("MySQLdb", "pymysql"),
    "postgresql": ("psycopg2", "psycopg"),
}


def sqlite_url(path: str | Path) -> str:
    """The URL of a file, whatever its name has in it.

    >>> sqlite_url("runs/a?b{c}.db")
    'sqlite:///runs/a%3Fb%7Bc%7D.db'
    """
    return as_text(sqlalchemy.URL.create("sqlite", database=Path(path).as_posix()))


def as_text(url: sqlalchemy.URL) -> str:
    """A URL for those who take texts, such as Optuna, with its password.

    Braces are encoded: Optuna hands the text to `str.format`.
    """
    return url.render_as_string(hide_password=False)


def completed(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """A URL with what is left to us: the home folder for `~`, and a driver that is installed."""
    backend, database = url.get_backend_name(), url.database or ""
    if backend == "sqlite" and database.startswith("~"):
        return url.set(database=Path(os.path.expanduser(database)).as_posix())
    if url.drivername not in _DRIVERS:
        return url
    usual, *others = _DRIVERS[url.drivername]
    if _is_installed(usual):
        return url
    driver = next((name for name in others if _is_installed(name)), None)
    return url if driver is None else url.set(drivername=f"{backend}+{driver}")


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
