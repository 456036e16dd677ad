"""How a process hears of Ctrl-C and SIGTERM, and what it does: see `interruption`."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from types import FrameType
from typing import Any, Final, TypeVar

T = TypeVar("T")
Speaker = Callable[[str], None]

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)

AT_ONCE: Final[list[Callable[[], object]]] = []
"""What is done before a process is stopped at once."""

_FIRST: Final = "what is being written is finished first; a second one stops at once"
_STOP_LISTENING, _RAISE_AGAIN = 0, 255  # no signals' numbers
_JOIN: Final = 1.0  # seconds
_AGAIN_AFTER: Final = 0.02  # seconds: by then the callback that an exception was lost in has ended


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or SIGTERM has come, and nothing is half done."""


class Role(Enum):
    """Whom signals come to."""

    LIBRARY = "in somebody's program: a second signal raises wherever it lands"
    COMMAND = "the command line: a signal ends the process at once, outside `finishing`"
    WORKER = "a process that its parent can kill: signals set the flag, however many come"


class Watch:
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

    def __init__(self, role: Role) -> None:
        self.role = role
        self.number: int | None = None
        self.since: float | None = None
        self.depth = 0
        self.is_noticed = False
        self.speaker: Speaker = _write
        known = (signal.SIG_DFL, signal.default_int_handler)
        # Not those of the user, nor SIG_IGN, which `nohup` and `&` in a script set.
        self.before = {n: h for n in SIGNALS if (h := signal.getsignal(n)) in known}
        self._handled = self._echoes = self._shields = 0
        self._in_window = self._has_raised = self._is_lost = False
        self._end = threading.Lock()
        self._ear, self._mouth = socket.socketpair()
        self._mouth.setblocking(False)
        self._thread = threading.Thread(target=self._listen, name="lyapopt-signals", daemon=True)

    def install(self) -> None:
        """Take over."""
        self._thread.start()
        self._wakeup = signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
        for number in self.before:
            signal.signal(number, self._handle)

    def remove(self) -> None:
        """Give back, when all that has come is heard."""
        self.restore()
        self._mouth.send(bytes([_STOP_LISTENING]))
        self._thread.join(_JOIN)
        self._mouth.close()
        self._ear.close()

    def restore(self) -> None:
        """Let signals do what they did before."""
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
                is_finishing = self.role is Role.LIBRARY or self.depth > 0
                if heard == 1 and is_finishing and self.role is not Role.WORKER:
                    name = "Ctrl-C" if number == signal.SIGINT else "SIGTERM"
                    with suppress(Exception):
                        self.speaker(f"{name}: {_FIRST}")

    def _handle(self, number: int, frame: FrameType | None) -> None:
        """What Python calls in the main thread, soon afterwards."""
        self._handled += 1
        count = self._handled - self._echoes
        self._hear(number, count)  # if somebody's event loop has the file descriptor now
        if count > 1 and self.role is Role.LIBRARY:
            self.is_noticed = True
            raise Interrupted
        self._raise_in_window()

    def _hear(self, number: int, count: int) -> None:
        if self.number is None:
            self.since, self.number = time.monotonic(), number
        is_over = self.role is Role.COMMAND and (count > 1 or self.depth == 0)
        is_second = count > 1 and self.role is not Role.WORKER
        if not (is_over or is_second) or not self._end.acquire(blocking=False):
            return  # or the other thread is at it
        for act in list(AT_ONCE):
            with suppress(Exception):
                act()
        if is_over:
            _write("interrupted")
            os._exit(128 + number)

    # Code of the user's

    def in_window(self, function: Callable[[], T]) -> T:
        """Call a function in which a signal raises; what becomes of that in it does not matter."""
        if self.number is not None:
            self.is_noticed = True
            raise Interrupted
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
                signal.pthread_kill(main_ident(), self.number)


def _write(text: str) -> None:
    with suppress(OSError):
        os.write(2, f"{text}\n".encode())


def main_ident() -> int:
    """The identifier of the main thread, the only one that Python calls handlers in."""
    ident = threading.main_thread().ident
    assert ident is not None
    return ident
