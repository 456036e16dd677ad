"""Drivers of databases that cannot be used: what to install, or to write instead."""

from __future__ import annotations

from typing import Final

import sqlalchemy
from sqlalchemy import exc

__all__ = ["EXTRAS", "advice_on_driver", "is_asynchronous"]

EXTRAS: Final = {"postgresql": "postgresql", "mysql": "mysql", "mariadb": "mysql"}
"""The extra of lyapopt that brings a driver for a server."""

_OF_EXTRA: Final = {"postgresql": "psycopg", "mysql": "pymysql"}
_PACKAGES: Final = {
    "cymysql": "cymysql",
    "mariadbconnector": "mariadb",
    "mysqlconnector": "mysql-connector-python",
    "mysqldb": "mysqlclient",
    "pg8000": "pg8000",
    "psycopg2": "psycopg2-binary",
    "psycopg2cffi": "psycopg2cffi",
    "pyodbc": "pyodbc",
}
"""What the package of a driver is called that a URL can name."""


def is_asynchronous(url: sqlalchemy.URL) -> bool:
    """Whether a URL names a driver of asyncio, which neither Optuna nor we can use.

    Example:
        >>> [is_asynchronous(sqlalchemy.make_url(url)) for url in ("sqlite://", "sqlite+aiosqlite://")]
        [False, True]
    """
    try:
        return bool(url.get_dialect().is_async)
    except (ImportError, exc.ArgumentError):  # of one that is not known nothing is known
        return False


def advice_on_driver(url: sqlalchemy.URL) -> str:
    """What to install for a URL whose driver cannot be used, or which driver to name instead.

    Args:
        url: The URL as it was given.

    Example:
        >>> advice_on_driver(sqlalchemy.make_url("mysql://me@host/studies"))
        "Install it with: pip install 'lyapopt[mysql]'"
    """
    backend, _, driver = url.drivername.partition("+")
    extra = EXTRAS.get(backend)
    if extra is None:
        return f"Write {backend}://"
    ours = f"pip install 'lyapopt[{extra}]'"
    if driver in ("", _OF_EXTRA[extra]):
        return f"Install it with: {ours}"
    instead = f"rite {backend}+{_OF_EXTRA[extra]}:// ({ours})"
    package = _PACKAGES.get(driver)
    return (
        f"W{instead}"
        if package is None
        else f"Install it with: pip install {package}; or w{instead}"
    )
