"""One process at a time, on whichever machine: short critical sections beside a database.

A server's advisory lock belongs to a connection, and the operating system's lock on a file to a
process: both are given back when their holder dies, however it dies, and at once.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Final

import sqlalchemy
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, exc, text

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.store.engine import make_engine, parse_url, sqlite_path
from lyapopt.store.errors import StoreBusyError, StoreError, explained, is_lock_timeout, masked

DEFAULT_TIMEOUT: Final = 60.0
"""Seconds that a process waits for another one's critical section."""

_SLICE: Final = 1.0  # seconds: so often a wait looks whether it is to end


class Mutex(ABC):
    """A lock that threads of this process and other processes respect; reentrant in a thread.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     mutex = database_mutex(f"sqlite:///{folder}/study.db", "my study")
        ...     with mutex:
        ...         mutex.now() > 0
        True
    """

    def __init__(self, where: str, timeout: float) -> None:
        self._where = where
        self._timeout = timeout
        self._threads = threading.RLock()
        self._depth = 0

    def __enter__(self) -> Mutex:
        self._threads.acquire()
        try:
            if self._depth == 0:
                self._acquire()
            self._depth += 1
        except BaseException:
            self._threads.release()
            raise
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._depth -= 1
        try:
            if self._depth == 0:
                self._release()
        finally:
            self._threads.release()

    @abstractmethod
    def now(self) -> float:
        """Seconds since 1970 by a clock that all holders share; only while it is held."""

    @abstractmethod
    def read_clock(self) -> float:
        """The same clock, for those who do not hold the lock and leave no trace."""

    @abstractmethod
    def check(self) -> None:
        """Make sure that it is still held: a server that was restarted has forgotten.

        Raises:
            StoreBusyError: If it is lost, so that the section must begin again.
        """

    def close(self) -> None:  # noqa: B027  a file needs nothing
        """Give back what it keeps open."""

    def discard(self) -> None:  # noqa: B027
        """Leave no trace; only for what need not be guarded any more, while it is held."""

    @abstractmethod
    def _acquire(self) -> None: ...

    @abstractmethod
    def _release(self) -> None: ...

    def _wait_for(self, lock: Callable[[float], bool]) -> None:
        """Try to lock for a while, again and again until it is time, or a signal has come."""
        end = time.monotonic() + self._timeout
        while True:
            left = end - time.monotonic()
            if lock(max(0.0, min(left, _SLICE))):
                return
            if left <= _SLICE or not interruption.is_worth_trying():
                raise self._too_long()

    def _too_long(self) -> StoreBusyError:
        return StoreBusyError(
            f"another process has held the lock of {self._where} for more than "
            f"{self._timeout:g} s. See whether it hangs, then try again."
        )


class FileMutex(Mutex):
    """A lock on a file beside the data, for processes of one machine.

    The file stays when the lock is given back: to delete it would let two processes hold locks on
    two files of the same name.

    Args:
        path: Path of the lock file; its folder must exist.
        where: What it guards, for messages.
        timeout: Seconds to wait for another process.
    """

    def __init__(self, path: Path, where: str, timeout: float = DEFAULT_TIMEOUT) -> None:
        super().__init__(where, timeout)
        self._path = path
        self._lock = FileLock(path, timeout=timeout)

    def now(self) -> float:
        """Seconds since 1970 on this machine."""
        return time.time()

    def read_clock(self) -> float:
        """The same."""
        return time.time()

    def check(self) -> None:
        """Nothing can take it away."""

    def discard(self) -> None:
        """Delete the file."""
        self._path.unlink(missing_ok=True)

    def _acquire(self) -> None:
        self._wait_for(self._try)

    def _try(self, seconds: float) -> bool:
        try:
            self._lock.acquire(timeout=seconds, poll_interval=0.01)
        except Timeout:
            if not self._path.exists():  # some file systems refuse as if somebody held it
                raise StoreError(f"cannot write beside {self._where}") from None
            return False
        except OSError as error:
            raise StoreError(f"cannot lock {one_line(self._where)}: {one_line(error)}") from error
        return True

    def _release(self) -> None:
        self._lock.release()


class _ServerMutex(Mutex):
    """An advisory lock of a database server, on a connection of its own."""

    _now: str

    def __init__(self, engine: Engine, name: str, timeout: float) -> None:
        super().__init__(masked(engine.url), timeout)
        self._engine = engine
        self._name = name
        self._connection: Connection | None = None

    def now(self) -> float:
        """Seconds since 1970 on the server."""
        with explained(self._engine.url, "read the clock of"):
            return float(self._held().scalar(text(self._now)) or 0.0)

    def read_clock(self) -> float:
        """The same, over a connection of its own."""
        with explained(self._engine.url, "read the clock of"), self._engine.connect() as connection:
            return float(connection.scalar(text(self._now)) or 0.0)

    def check(self) -> None:
        """Ask the server over the connection that the lock hangs on."""
        with explained(self._engine.url, "hold the lock of"):
            self._held().execute(text("SELECT 1"))

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()

    def _held(self) -> Connection:
        assert self._connection is not None, "the mutex is not held"
        return self._connection

    def _acquire(self) -> None:
        with explained(self._engine.url, "lock"):
            connection = self._engine.connect()
            try:
                self._wait_for(lambda seconds: self._lock(connection, seconds))
            except BaseException:
                connection.invalidate()
                connection.close()
                raise
            self._connection = connection

    def _release(self) -> None:
        connection, self._connection = self._held(), None
        with suppress(exc.SQLAlchemyError):  # a connection that is lost holds no lock
            self._unlock(connection)
            connection.close()
            return
        connection.invalidate()
        connection.close()

    def _lock(self, connection: Connection, seconds: float) -> bool:
        raise NotImplementedError

    def _unlock(self, connection: Connection) -> None:
        raise NotImplementedError


class _PostgresqlMutex(_ServerMutex):
    """The lock of a transaction, not of a session: poolers keep a transaction on one connection."""

    _now = "SELECT extract(epoch FROM clock_timestamp())"

    def _lock(self, connection: Connection, seconds: float) -> bool:
        milliseconds = max(1, int(seconds * 1000))  # 0 would wait for ever
        connection.execute(text(f"SET LOCAL lock_timeout = {milliseconds}"))
        key = int.from_bytes(blake2b(self._name.encode(), digest_size=8).digest(), signed=True)
        try:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": key})
        except exc.DBAPIError as error:
            if not is_lock_timeout(error):
                raise
            connection.rollback()
            return False
        return True

    def _unlock(self, connection: Connection) -> None:
        connection.rollback()


class _MysqlMutex(_ServerMutex):
    _now = "SELECT UNIX_TIMESTAMP(NOW(6))"

    def _lock(self, connection: Connection, seconds: float) -> bool:
        values = {"name": self._short_name(), "s": seconds}
        return bool(connection.scalar(text("SELECT GET_LOCK(:name, :s)"), values))

    def _unlock(self, connection: Connection) -> None:
        connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": self._short_name()})

    def _short_name(self) -> str:
        # Names of locks belong to the server, not to a database of it, and have 64 characters.
        whole = f"{self._engine.url.database}/{self._name}"
        return f"lyapopt_{blake2b(whole.encode(), digest_size=16).hexdigest()}"


def database_mutex(url: str | sqlalchemy.URL, name: str, timeout: float = DEFAULT_TIMEOUT) -> Mutex:
    """The mutex of that name in that database.

    Args:
        url: URL of a database in SQLite, PostgreSQL, MySQL or MariaDB. With SQLite, the lock is on
            a file beside the database, whose folder is made if it is not there.
        name: What the mutex guards, such as a study.
        timeout: Seconds to wait for another process.

    Raises:
        StoreError: If the URL is not one of a database, or its driver is missing.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite":
        database = sqlite_path(parsed) or Path(str(parsed.database or "memory"))
        return file_mutex(database, name, timeout)
    return server_mutex(make_engine(parsed, timeout), name, timeout)


def server_mutex(engine: Engine, name: str, timeout: float = DEFAULT_TIMEOUT) -> Mutex:
    """The mutex of that name in a server's database; to close it disposes of the engine.

    Args:
        engine: Engine of a database in PostgreSQL, MySQL or MariaDB.
        name: What the mutex guards.
        timeout: Seconds to wait for another process.
    """
    is_postgresql = engine.dialect.name == "postgresql"
    return (_PostgresqlMutex if is_postgresql else _MysqlMutex)(engine, name, timeout)


def file_mutex(beside: Path, name: str, timeout: float = DEFAULT_TIMEOUT) -> FileMutex:
    """The mutex of that name beside a file.

    Raises:
        StoreError: If its folder cannot be made.
    """
    short = blake2b(name.encode(), digest_size=4).hexdigest()
    # Absolute: the lock of a program that changes its working directory stays where it is.
    path = beside.absolute().with_name(f"{beside.name}.{short}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot write beside {one_line(beside)}: {one_line(error)}") from error
    return FileMutex(path, str(beside), timeout)
