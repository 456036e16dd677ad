"""One thread that says that a worker lives, for all the trials that it runs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from types import TracebackType

import optuna

from lyapopt.display import one_line
from lyapopt.search._optuna import record_heartbeats, remove_session
from lyapopt.study.run.leases import Leases

_log = logging.getLogger(__name__)

_FIRST = 1.0  # seconds: a group that is done by then needs no sign of life
_JOIN = 5.0


class Heartbeat:
    """Renews a worker's row, and Optuna's heartbeat of its running trials.

    Args:
        study: The study that the worker works on.
        leases: The worker's share of it.
        interval: Seconds between two signs of life.
    """

    def __init__(self, study: optuna.Study, leases: Leases, interval: float) -> None:
        self._study = study
        self._leases = leases
        self._interval = interval
        self._trials: tuple[optuna.Trial, ...] = ()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="lyapopt-heartbeat", daemon=True)

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(_JOIN)

    def speak_for(self, trials: Sequence[optuna.Trial]) -> None:
        """From now on, record heartbeats of these trials and of no others."""
        self._trials = tuple(trials)

    def _run(self) -> None:
        wait = min(_FIRST, self._interval)
        while not self._stop.wait(wait):
            try:
                record_heartbeats(self._study, self._trials)
                self._leases.beat()
            except Exception as error:
                # The database is in trouble; the worker itself will notice and say so.
                _log.debug("no heartbeat: %s", one_line(error))
            wait = self._interval
        remove_session(self._study)
