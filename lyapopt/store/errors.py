"""What can go wrong with a database, said so that a person can act on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import sqlalchemy
from sqlalchemy import exc

from lyapopt.display import one_line, printable
from lyapopt.errors import UserError
from lyapopt.redaction import SECRET_KEYS, has_bare_at, redacted


class StoreError(UserError):
    """The trajectory store cannot do what was asked; the message says why and what to do."""


class StoreBusyError(StoreError):
    """The database is locked or not reachable at the moment: trying again may succeed."""


class StoreFullError(StoreError):
    """The disk, or the space of the database, is full: trying again helps once there is some."""


class StoreSchemaError(StoreError):
    """The tables in the database are missing, or are of a version that this code cannot read."""


class RecordNotFoundError(StoreError, LookupError):
    """The study, trial, run or trajectory that was asked for is not in the store."""


class UnfinishedTablesError(StoreSchemaError, RecordNotFoundError):
    """Tables were being created, by a process that goes on or has died: nothing is in them yet."""


class DamagedDataError(StoreError):
    """What is stored of a trajectory cannot be read back: pieces of it are missing or changed."""


def masked(url: str | sqlalchemy.URL) -> str:
    """A database URL as a person may read it: without its password, in one line.

    Args:
        url: A database URL, parsed or not.

    Returns:
        The URL with every password replaced by `***`.

    Example:
        >>> masked("mysql+pymysql://me:secret@db/studies")
        'mysql+pymysql://me:***@db/studies'
    """
    if isinstance(url, str):
        if has_bare_at(url):  # which would be split within the password
            return redacted(url)
        try:
            return masked(sqlalchemy.make_url(url))
        except (exc.ArgumentError, ValueError):  # which it raises of a port that is no number
            return printable(redacted(url))
    hidden = {key: "***" for key in url.query if key.lower() in SECRET_KEYS}
    shown = url.update_query_dict(hidden).render_as_string(hide_password=True)
    return printable(redacted(shown.replace("%2A%2A%2A", "***")))


def _without_password(text: str, url: sqlalchemy.URL) -> str:
    secrets = [url.password, *(v for k, v in url.query.items() if k.lower() in SECRET_KEYS)]
    for secret in secrets:
        if isinstance(secret, str) and len(secret) > 2:
            text = text.replace(secret, "***")
    return redacted(text)


class _Cause(NamedTuple):
    """What was wrong, what to do, and which error it is."""

    what: str
    advice: str
    error: type[StoreError]


_WAIT = "Wait until the other process has finished, then try again."
_CREDENTIALS = "Check user name, password and permissions."
_UNREACHABLE = _Cause(
    "no database server answers there, or the connection was lost",
    "Check that the server runs and that host and port are right, then try again.",
    StoreBusyError,
)
_NO_TABLE: Final = "no such table"  # SQLite has no code of its own for it
# SQLite's error names, PostgreSQL's SQLSTATE (or its class, two characters), MySQL's numbers.
_CODES: Final = {
    _Cause("another process holds its lock", _WAIT, StoreBusyError): (
        "SQLITE_BUSY SQLITE_LOCKED 55P03 40 1020 1205 1213 1412 1684"
    ),
    _UNREACHABLE: "57P 08 2003 2006 2013",
    _Cause("the server has too many connections", _WAIT, StoreBusyError): "53300 1040",
    _Cause(
        "the disk does not answer",
        "Check the disk (a network drive?) and its space.",
        StoreBusyError,
    ): "SQLITE_IOERR",
    _Cause(
        "the disk, or the space the database may use, is full",
        "Free some space and run again: what was stored before is intact.",
        StoreFullError,
    ): "SQLITE_FULL 53100 1021 1114",
    _Cause("the file cannot be opened", "Check path, directory, permissions.", StoreError): (
        "SQLITE_CANTOPEN"
    ),
    _Cause(
        "it cannot be written",
        "Check the permissions of the file and of its directory.",
        StoreError,
    ): "SQLITE_READONLY SQLITE_PERM",
    _Cause(
        "the file was deleted, moved or replaced while it was open",
        "Nothing more is written to it. Put the file back, or run again, which begins with the "
        "file that is there now.",
        StoreError,
    ): "SQLITE_READONLY_DBMOVED",
    _Cause(
        "a table is missing",
        "Was the database deleted, replaced or emptied meanwhile? `lyapopt storage doctor` says "
        "what it holds.",
        StoreError,
    ): f"{_NO_TABLE.replace(' ', '_')} 42P01 1146",
    _Cause("it cannot be written", "The server or the session is read-only.", StoreError): "25006",
    _Cause("it cannot be written", "The server is read-only.", StoreError): "1290",
    _Cause("the file is not an SQLite database", "Give the path of another.", StoreError): (
        "SQLITE_NOTADB"
    ),
    _Cause(
        "the file is damaged", "Restore a copy, or try `sqlite3 FILE .recover`.", StoreError
    ): "SQLITE_CORRUPT",
    _Cause("the server refused the login", _CREDENTIALS, StoreError): "28 1044 1045",
    _Cause("the user has no permission for this", _CREDENTIALS, StoreError): "42501 1142",
    _Cause(
        "the server has no such database",
        "Create the database first, or correct its name.",
        StoreError,
    ): "3D 1049",
    _Cause(
        "a packet is larger than the server takes", "Raise its max_allowed_packet.", StoreError
    ): "1153",
}
_CAUSES: Final = {code: cause for cause, codes in _CODES.items() for code in codes.split()}


def _codes(error: exc.DBAPIError) -> Iterator[str]:
    """The driver's code for the error, from the most to the least particular."""
    origin = error.orig
    name = getattr(origin, "sqlite_errorname", None)
    if name and str(origin).startswith(_NO_TABLE):
        yield _NO_TABLE.replace(" ", "_")
    if name:
        yield name
        yield "_".join(name.split("_")[:2])
    state = getattr(origin, "sqlstate", None)
    if state:
        yield from (state, state[:3], state[:2])
    if origin is not None and origin.args and isinstance(origin.args[0], int):
        yield str(origin.args[0])
    if error.connection_invalidated or "in transaction status" in str(origin):
        yield "08"  # psycopg says the latter of a connection that was cut in mid-command
    if name is None and state is None and isinstance(error, exc.OperationalError):
        # psycopg gives no SQLSTATE when no connection came about; only the text tells why.
        text = str(origin)
        is_refused = "authentication" in text or re.search(r'FATAL:\s+role "', text)
        yield "28" if is_refused else "3D" if "does not exist" in text else "08"


def is_lock_timeout(error: exc.DBAPIError) -> bool:
    """Whether PostgreSQL gave up waiting for a lock after its `lock_timeout`."""
    return "55P03" in _codes(error)


def explain(error: exc.SQLAlchemyError, url: sqlalchemy.URL, doing: str) -> StoreError:
    """The error of the database as one that says what was wrong, where, and what to do.

    Args:
        error: What SQLAlchemy raised.
        url: URL of the database it happened in; its password does not enter the message.
        doing: What was being done, to complete "cannot ...".
    """
    where = f"cannot {doing} {masked(url)}"
    if isinstance(error, exc.PendingRollbackError):  # a lost connection, used once more
        return StoreBusyError(f"{where}: {_UNREACHABLE.what}. {_UNREACHABLE.advice}")
    if not isinstance(error, exc.DBAPIError):
        return StoreError(f"{where}: {one_line(_without_password(str(error), url))}")
    said = _without_password(" ".join(str(error.orig).split()), url)
    for code in _codes(error):
        if code in _CAUSES:
            cause = _CAUSES[code]
            said = f"(The database said: {one_line(said)})"
            return cause.error(f"{where}: {cause.what}. {cause.advice} {said}")
    return StoreError(f"{where}: {one_line(said)}")


@contextmanager
def explained(url: sqlalchemy.URL, doing: str) -> Iterator[None]:
    """Raise the errors of the database in its body as `StoreError`; see `explain`."""
    try:
        yield
    except TypeError as error:  # what Python's drivers say of an option that they do not know
        if "unexpected keyword argument" not in str(error):
            raise
        raise StoreError(
            f"cannot {doing} {masked(url)}: its driver does not know an option of the URL ({error})"
        ) from error
    except exc.SQLAlchemyError as error:
        raise explain(error, url, doing) from error
