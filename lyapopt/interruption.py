"""Ctrl-C and SIGTERM: a flag that is polled, so that what is being written is written to its end.

Python raises `KeyboardInterrupt` wherever the signal lands: in the callback of a weak reference,
where it is lost, in a database driver, which then leaves a transaction open, or in an import. Here
the first signal sets a flag. Loops `poll` it between two trials, two steps, two attempts at a
database, and raise `Interrupted` where nothing is half done. A second signal stops the program at
once; databases roll back what was not committed, so that the study can be resumed all the same.

A thread hears of signals through `signal.set_wakeup_fd`, also while the main thread is within a
long call into C. Handlers are taken over only where they are Python's own; a process that is
forked (the workers of a `DataLoader`) gets those back that were there before.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Final, ParamSpec, TypeVar

from lyapopt._signals import AT_ONCE, Interrupted, Role, Speaker, Watch, main_ident

__all__ = [
    "Interrupted",
    "at_once",
    "came",
    "deliver",
    "exit_code",
    "finishing",
    "forget",
    "interruptible",
    "is_worth_trying",
    "poll",
    "rest",
    "shielded",
    "undelivered",
    "wait",
    "watch_command",
    "watched_command",
]

P = ParamSpec("P")
T = TypeVar("T")

PATIENCE: Final = 5.0
"""Seconds for which a database that is in trouble is still tried after a signal."""

_SLICE: Final = 0.1  # seconds: a signal is noticed within it

_watch: Watch | None = None


# What is polled


def came() -> bool:
    """Whether a signal has come; whoever asks is to stop."""
    if _watch is None or _watch.number is None:
        return False
    _watch.is_noticed = True
    return True


def poll() -> None:
    """Raise `Interrupted` if a signal has come."""
    if _watch is not None and _watch.number is not None:
        _watch.is_noticed = True
        raise Interrupted


def wait(seconds: float) -> None:
    """Sleep, and raise `Interrupted` as soon as a signal has come."""
    end = time.monotonic() + seconds
    poll()
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE))
        poll()


def rest(seconds: float) -> None:
    """Sleep between two attempts at something, for as long as `is_worth_trying`."""
    end = time.monotonic() + seconds
    while is_worth_trying() and (left := end - time.monotonic()) > 0:
        time.sleep(min(left, _SLICE))


def is_worth_trying() -> bool:
    """Whether what fails for now is to be tried again: not long after a signal."""
    return _watch is None or _watch.since is None or time.monotonic() < _watch.since + PATIENCE


def exit_code() -> int | None:
    """128 and the number of the signal that has come, as shells have it; `None` if none has."""
    return None if _watch is None or _watch.number is None else 128 + _watch.number


def forget(number: int) -> None:
    """Go on as if this signal had not come: what it is the way to end has ended."""
    if _watch is not None and _watch.number == number:
        _watch.number = _watch.since = None


# Who is to be interrupted, and how


def watch_command() -> None:
    """Let signals end this process, which runs the command line, from now on; the first thing."""
    if _watch is None and _is_main_thread():
        _install(Role.COMMAND)


@contextmanager
def watched_command() -> Iterator[None]:
    """`watch_command` for as long as the body lasts."""
    if _watch is not None or not _is_main_thread():
        yield
        return
    _install(Role.COMMAND)
    try:
        yield
    finally:
        _remove()


@contextmanager
def finishing(speaker: Speaker | None = None, *, as_worker: bool = False) -> Iterator[None]:
    """Let signals set the flag, within the body. In other threads than the main one, do nothing.

    Args:
        speaker: Told, in another thread, that a signal has come and what a second one does; by
            default it is written to stderr.
        as_worker: Whether this process obeys one that started it: it says nothing then, and
            further signals change nothing.

    Raises:
        Interrupted: At the end, if a signal has come and nobody has noticed, or if the command line
            has more to do that is not in a `finishing`.
    """
    if not _is_main_thread():
        yield
        return
    is_first = _watch is None
    watch = _install(Role.WORKER if as_worker else Role.LIBRARY) if is_first else _watch
    assert watch is not None
    before = watch.speaker
    watch.speaker = before if speaker is None else speaker
    watch.depth += 1
    try:
        yield
    finally:
        watch.depth -= 1
        if is_first:
            _remove()
        watch.speaker = before
    is_last = watch.depth == 0 and watch.role is Role.COMMAND
    if watch.number is not None and (is_last or not watch.is_noticed):
        watch.is_noticed = True
        raise Interrupted


@contextmanager
def at_once(act: Callable[[], object]) -> Iterator[None]:
    """Do this too before the process is stopped at once; it is called in another thread."""
    AT_ONCE.append(act)
    try:
        yield
    finally:
        AT_ONCE.remove(act)


def interruptible(function: Callable[P, T]) -> Callable[P, T]:
    """A function of the user's, in which a signal raises as it does in any Python program.

    It may sleep for an hour, and nobody polls there. Whatever it makes of the exception, and if it
    is lost in a callback, what it returns after that does not count: `Interrupted` is raised.
    """

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if _watch is None or not _is_main_thread():
            return function(*args, **kwargs)
        return _watch.in_window(lambda: function(*args, **kwargs))

    return call


def shielded(function: Callable[P, T]) -> Callable[P, T]:
    """A function that writes, in which nothing is raised, also if an interruptible one calls it."""

    @wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        if _watch is None or not _is_main_thread():
            return function(*args, **kwargs)
        return _watch.in_shield(lambda: function(*args, **kwargs))

    return call


@contextmanager
def undelivered() -> Iterator[None]:
    """Start processes in the body that Ctrl-C does not reach until they call `deliver`.

    A terminal sends it to all of a program's processes, also to those that import something yet.
    This one hears of it all the same: another of its threads does.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def deliver() -> None:
    """Let Ctrl-C reach this process, which was started while it was not delivered."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])


def _install(role: Role) -> Watch:
    global _watch
    _watch = Watch(role)
    _watch.install()
    return _watch


def _remove() -> None:
    global _watch
    assert _watch is not None
    watch, _watch = _watch, None
    watch.remove()


def _forget_in_child() -> None:
    """A process that was forked is none of ours: a `DataLoader` ends its workers by SIGTERM."""
    global _watch
    AT_ONCE.clear()
    if _watch is not None:
        watch, _watch = _watch, None
        watch.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _is_main_thread() -> bool:
    return threading.get_ident() == main_ident()
