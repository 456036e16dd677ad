"""When a buffer is flushed without being asked: by a timer, before a fork, and at exit."""

from __future__ import annotations

import atexit
import logging
import multiprocessing.util
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, Final, Protocol
from weakref import WeakSet

_log = logging.getLogger(__name__)


class Buffer(Protocol):
    """What is flushed."""

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Whoever has it is alone with the buffer."""
        ...

    def flush_quietly(self, *, is_last: bool = False, patiently: bool = False) -> bool:
        """Flush, log what goes wrong, and say whether there was anything."""
        ...

    def before_fork(self) -> None:
        """Flush, and keep every other thread out."""
        ...

    def after_fork(self) -> None:
        """Let the other threads in again."""
        ...

    def begin_in_child(self) -> None:
        """Begin empty, with locks and connections of one's own."""
        ...


class Timer:
    """A thread that flushes a buffer every so often, while there is something to flush.

    It keeps the buffer alive until all is written, and ends when nothing came in for a while.

    Args:
        interval: Seconds between two flushes.
    """

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._thread: threading.Thread | None = None

    def start(self, buffer: Buffer) -> None:
        """Have the buffer flushed; the caller has its lock."""
        if self._thread is not None:
            return
        _flush_at_exit()
        self._thread = threading.Thread(
            target=self._run, args=(buffer,), name="lyapopt-flush", daemon=True
        )
        try:
            self._thread.start()
        except RuntimeError:  # the interpreter is about to end, and flushes then
            self._thread = None

    def _run(self, buffer: Buffer) -> None:
        pause = threading.Event()
        while True:
            pause.wait(self._interval)
            with buffer.lock:
                if not buffer.flush_quietly():
                    self._thread = None
                    return


_buffers: Final[WeakSet[Buffer]] = WeakSet()
_forking = threading.local()
_process_with_exit: int | None = None


def watch(buffer: Buffer) -> None:
    """Flush a buffer before forks and at exit, as long as there is one."""
    _buffers.add(buffer)


def _flush_all() -> None:
    for buffer in list(_buffers):
        buffer.flush_quietly(is_last=True, patiently=True)


def _flush_at_exit() -> None:
    """Processes of `multiprocessing` run no functions of `atexit`, and forget those of parents."""
    global _process_with_exit
    if _process_with_exit != os.getpid():
        _process_with_exit = os.getpid()
        multiprocessing.util.Finalize(None, _flush_all, exitpriority=100)


def _each(buffers: list[Buffer], call: Callable[[Buffer], None]) -> None:
    for buffer in buffers:
        try:
            call(buffer)
        except Exception:
            _log.exception("a buffered storage could not be prepared for a fork")


def _before() -> None:
    _forking.buffers = sorted(_buffers, key=id)  # in one order, whichever thread forks
    _each(_forking.buffers, lambda buffer: buffer.before_fork())


def _after_in_parent() -> None:
    _each(_forking.__dict__.pop("buffers", []), lambda buffer: buffer.after_fork())


def _after_in_child() -> None:
    _each(_forking.__dict__.pop("buffers", []), lambda buffer: buffer.begin_in_child())


atexit.register(_flush_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child
    )
