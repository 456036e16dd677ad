"""Trying again, for a stated time, when a database is locked, full, lost or restarted."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import sqlalchemy
from sqlalchemy import exc

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.store.errors import StoreBusyError, StoreError, StoreFullError, explain

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass
class RetryPolicy:
    """How long to try again, and who is told.

    The waits double from `first` to `longest`, and are drawn at random around that, so that many
    workers do not come back all at once. After Ctrl-C or SIGTERM it is not tried for long.

    Args:
        seconds: Seconds after which the error is raised.
        first: Seconds before the second attempt.
        longest: Most seconds between two attempts.
        notify: Called with a message for a person, once for each trouble that is waited for; by
            default the message is logged.

    Example:
        >>> attempts = []
        >>> def write():
        ...     attempts.append(1)
        ...     if len(attempts) < 3:
        ...         raise StoreBusyError("cannot write: another process holds its lock")
        ...     return "written"
        >>> RetryPolicy(seconds=5, first=0.001)(write), len(attempts)
        ('written', 3)
    """

    seconds: float = 120.0
    first: float = 0.05
    longest: float = 5.0
    notify: Callable[[str], None] | None = None

    def __call__(self, attempt: Callable[[], T], url: str | sqlalchemy.URL | None = None) -> T:
        """Call `attempt` until it succeeds, its error is not a passing one, or time is up.

        Args:
            attempt: What to do; it must be safe to call again.
            url: The database, to name in errors that are not explained yet.

        Raises:
            StoreError: The last one, with how long it was tried for.
        """
        started = time.monotonic()
        wait, is_announced = self.first, False
        while True:
            try:
                return attempt()
            except Exception as error:
                trouble = as_store_error(error, url)
                if trouble is None:
                    raise
                if not isinstance(trouble, StoreBusyError | StoreFullError):
                    raise trouble from error
                elapsed = time.monotonic() - started
                if elapsed + wait > self.seconds:
                    text = f"{trouble} (Tried again for {self.seconds:g} s.)"
                    raise type(trouble)(text) from error
                if not interruption.is_worth_trying():
                    text = f"{trouble} (Interrupted after {elapsed:.0f} s of trying again.)"
                    raise type(trouble)(text) from error
                if not is_announced and wait >= min(1.0, self.longest):
                    is_announced = True
                    self._announce(f"{trouble} Trying again for up to {self.seconds:g} s.")
            interruption.rest(wait * random.uniform(0.5, 1.0))
            wait = min(2 * wait, self.longest)

    def _announce(self, text: str) -> None:
        if self.notify is None:
            _log.info("%s", one_line(text))
        else:
            self.notify(one_line(text))


def as_store_error(
    error: BaseException, url: str | sqlalchemy.URL | None = None
) -> StoreError | None:
    """The trouble of a database that an exception is about, or `None` for other exceptions.

    Optuna wraps what SQLAlchemy raises, and gives it as the cause.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, StoreError):
            return seen
        if isinstance(seen, exc.SQLAlchemyError):
            return explain(seen, sqlalchemy.make_url(url or "sqlite://"), "work with")
        seen = seen.__cause__
    return None
