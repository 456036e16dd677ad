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
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import Enum
from functools import wraps
from types import FrameType
from typing import Any, Final, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")
Speaker = Callable[[str], None]

PATIENCE: Final = 5.0
"""Seconds for which a database that is in trouble is still tried after a signal."""

_SLICE: Final = 0.1  # seconds: a signal is noticed within it
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)
_FIRST: Final = "what is being written is finished first; a second one stops at once"
_STOP_LISTENING, _RAISE_AGAIN = 0, 255  # no signals' numbers
_JOIN: Final = 1.0  # seconds
_AGAIN_AFTER: Final = 0.02  # seconds: by then the callback that an exception was lost in has ended

_at_once: list[Callable[[], object]] = []
_watch: _Watch | None = None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM has come, and nothing is half done."""


class _Role(Enum):
    LIBRARY = "in somebody's program: a second signal raises wherever it lands"
    COMMAND = "the command line: a signal ends the process at once, outside `finishing`"
    WORKER = "a process that its parent can kill: signals set the flag, however many come"


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
        _install(_Role.COMMAND)


@contextmanager
def watched_command() -> Iterator[None]:
    """`watch_command` for as long as the body lasts."""
    if _watch is not None or not _is_main_thread():
        yield
        return
    _install(_Role.COMMAND)
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
    watch = _install(_Role.WORKER if as_worker else _Role.LIBRARY) if is_first else _watch
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
    is_last = watch.depth == 0 and watch.role is _Role.COMMAND
    if watch.number is not None and (is_last or not watch.is_noticed):
        watch.is_noticed = True
        raise Interrupted


@contextmanager
def at_once(act: Callable[[], object]) -> Iterator[None]:
    """Do this too before the process is stopped at once; it is called in another thread."""
    _at_once.append(act)
    try:
        yield
    finally:
        _at_once.remove(act)


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


# How signals are heard


class _Watch:
    """The handlers of a process, and what has come.

    Attributes:
        role: What a signal does.
        before: Handlers that were there.
        number: The first signal that has come.
        since: When it came.
        depth: In how many `finishing` the main thread is.
        is_noticed: Whether anybody has asked, and so will stop.
        speaker: Told of the first signal.
    """

    def __init__(self, role: _Role) -> None:
        self.role = role
        self.number: int | None = None
        self.since: float | None = None
        self.depth = 0
        self.is_noticed = False
        self.speaker: Speaker = _write
        known = (signal.SIG_DFL, signal.default_int_handler)
        # Not those of the user, nor SIG_IGN, which `nohup` and `&` in a script set.
        self.before = {n: h for n in _SIGNALS if (h := signal.getsignal(n)) in known}
        self._handled = self._echoes = self._shields = 0
        self._in_window = self._has_raised = self._is_lost = False
        self._end = threading.Lock()
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="lyapopt-signals", daemon=True)

    def install(self) -> None:
        self._thread.start()
        self._wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for number in self.before:
            signal.signal(number, self._handle)

    def remove(self) -> None:
        self.restore()
        self._mouth.send(bytes([_STOP_LISTENING]))
        self._thread.join(_JOIN)
        self._mouth.close()
        self._ear.close()

    def restore(self) -> None:
        for number, handler in self.before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)

    def _listen(self) -> None:
        """Hear of every signal, in a thread."""
        heard = 0
        while True:
            try:
                number = self._ear.recv(1)[0]
            except (OSError, IndexError):
                return
            if number == _STOP_LISTENING:
                return
            if number == _RAISE_AGAIN:
                self._raise_again()
            elif number in self.before:
                heard += 1
                self._hear(number, heard - self._echoes)
                is_finishing = self.role is _Role.LIBRARY or self.depth > 0
                if heard == 1 and is_finishing and self.role is not _Role.WORKER:
                    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
                    with suppress(Exception):
                        self.speaker(f"{name}: {_FIRST}")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """What Python calls in the main thread, soon afterwards."""
        self._handled += 1
        count = self._handled - self._echoes
        self._hear(number, count)  # if somebody's event loop has the file descriptor now
        if count > 1 and self.role is _Role.LIBRARY:
            self.is_noticed = True
            raise Interrupted
        self._raise_in_window()

    def _hear(self, number: int, count: int) -> None:
        if self.number is None:
            self.since, self.number = time.monotonic(), number
        is_over = self.role is _Role.COMMAND and (count > 1 or self.depth == 0)
        is_second = count > 1 and self.role is not _Role.WORKER
        if not (is_over or is_second) or not self._end.acquire(blocking=False):
            return  # or the other thread is at it
        for act in list(_at_once):
            with suppress(Exception):
                act()
        if is_over:
            _write("interrupted")
            os._exit(128 + number)

    # Code of the user's

    def in_window(self, function: Callable[[], T]) -> T:
        """Call a function in which a signal raises; what becomes of that in it does not matter."""
        poll()
        hook = sys.unraisablehook
        sys.unraisablehook = self._unraisable(hook)
        self._has_raised = self._is_lost = False
        try:
            try:
                self._in_window = True
                return function()
            finally:
                self._in_window = False
        finally:
            sys.unraisablehook = hook
            if self._has_raised:
                self.is_noticed = True
                raise Interrupted

    def in_shield(self, function: Callable[[], T]) -> T:
        """Call a function after which a signal raises, instead of in it."""
        self._shields += 1
        try:
            result = function()
        finally:
            self._shields -= 1
        if self.number is not None:
            self._raise_in_window()
        return result

    def _raise_in_window(self) -> None:
        if self._in_window and not self._shields and (self._is_lost or not self._has_raised):
            self._has_raised, self._is_lost = True, False
            raise Interrupted

    def _unraisable(self, otherwise: Callable[[Any], object]) -> Callable[[Any], None]:
        """A hook for exceptions in finalizers and callbacks, where Python only prints them."""

        def hook(raised: Any) -> None:
            if not isinstance(raised.exc_value, Interrupted):
                otherwise(raised)
                return
            with suppress(OSError):
                self._mouth.send(bytes([_RAISE_AGAIN]))

        return hook

    def _raise_again(self) -> None:
        time.sleep(_AGAIN_AFTER)
        if self.number is not None:
            self._echoes += 1
            self._is_lost = True
            with suppress(OSError, AttributeError):  # Windows has no such function
                signal.pthread_kill(_main_ident(), self.number)


def _install(role: _Role) -> _Watch:
    global _watch
    _watch = _Watch(role)
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
    _at_once.clear()
    if _watch is not None:
        watch, _watch = _watch, None
        watch.restore()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


def _write(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def _is_main_thread() -> bool:
    return threading.get_ident() == _main_ident()


def _main_ident() -> int:
    ident = threading.main_thread().ident
    assert ident is not None
    return ident
