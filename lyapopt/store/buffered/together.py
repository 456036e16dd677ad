"""What a thread does to several trials at once: asking for them, and ending them."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from lyapopt.store.buffered.buffer import TrialBuffer
from lyapopt.store.buffered.direct import DirectStorage
from lyapopt.store.buffered.pending import Batch


class TogetherStorage(DirectStorage):
    """The part of `BufferedStorage` that brings trials of a thread together."""

    _buffer: TrialBuffer
    _local: threading.local

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Let the trials that this thread tells in the body end in one transaction, at its end.

        Inside another batch it does nothing of its own.

        Yields:
            The batch: `also` adds writes of one's own to the transaction, and `losses` says
            afterwards which of the trials somebody else had finished.

        Raises:
            StorageInternalError: At the end, if they could not be written; then none has ended.

        Example:
            >>> import optuna
            >>> from lyapopt import BufferedStorage
            >>> storage = BufferedStorage("sqlite://")
            >>> study = optuna.create_study(storage=storage)
            >>> trials = [study.ask() for _ in range(3)]
            >>> with storage.batch():
            ...     for trial in trials:
            ...         _ = study.tell(trial, trial.number)
            >>> study.best_value
            0.0
        """
        if self._batch is not None:
            yield self._batch
            return
        self._local.batch = Batch()
        try:
            yield self._local.batch
        finally:
            batch, self._local.batch = self._local.batch, None
            with self._buffer.lock:
                self._buffer.end(batch)

    @contextmanager
    def asking(self) -> Iterator[None]:
        """Read what others wrote once for all trials that this thread asks for in the body.

        Otherwise it is read again for each of them. The body should be short: what others enqueue
        meanwhile is seen after an interval.

        Example:
            >>> import optuna
            >>> from lyapopt import BufferedStorage
            >>> storage = BufferedStorage("sqlite://")
            >>> study = optuna.create_study(storage=storage)
            >>> with storage.asking():
            ...     [study.ask().number for _ in range(3)]
            [0, 1, 2]
        """
        before, self._local.polled = self._polled, set()
        try:
            yield
        finally:
            self._local.polled = before

    @property
    def _batch(self) -> Batch | None:
        return getattr(self._local, "batch", None)

    @property
    def _polled(self) -> set[int] | None:
        """Ids of the studies that have been read for trials that are asked for together."""
        return getattr(self._local, "polled", None)
