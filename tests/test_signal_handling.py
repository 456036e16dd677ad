"""Signals set a flag; they raise where nothing is half done, and a second one stops at once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lyapopt
from lyapopt import interruption
from lyapopt.interruption import Interrupted, finishing, interruptible, shielded
from lyapopt.store.errors import StoreBusyError
from lyapopt.store.mutex import database_mutex
from lyapopt.store.retry import RetryPolicy

SOON = 0.05  # seconds
LONG = 1000.0


def send(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def send_soon(number: int = signal.SIGINT, seconds: float = SOON) -> None:
    threading.Timer(seconds, send, [number]).start()


def quiet() -> Any:
    return finishing(lambda text: None)


class Thing:
    pass


@pytest.fixture(autouse=True)
def _handlers_are_those_of_before() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    hook = sys.unraisablehook
    yield
    assert before == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    assert signal.set_wakeup_fd(-1) == -1
    assert sys.unraisablehook == hook
    assert not interruption.came()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_in_a_callback_of_a_weak_reference_is_not_lost(number: int) -> None:
    ended = []

    def callback(_: object) -> None:
        send(number)
        ended.append(sum(range(10_000)))

    thing = Thing()
    reference = weakref.ref(thing, callback)
    with quiet():
        interruption.poll()
        del thing
        assert reference() is None
        assert ended
        with pytest.raises(Interrupted):
            interruption.wait(LONG)
        assert interruption.exit_code() == 128 + number


def test_who_was_told_of_a_signal_says_once_what_a_second_one_does() -> None:
    said: list[str] = []
    with finishing(said.append):
        send(signal.SIGTERM)
        with pytest.raises(Interrupted):
            interruption.wait(LONG)
    assert said == ["SIGTERM: what is being written is finished first; a second one stops at once"]


def test_a_signal_that_nobody_noticed_is_raised_in_the_end() -> None:
    with pytest.raises(KeyboardInterrupt), quiet():
        send()


def test_a_second_signal_raises_wherever_it_lands_in_somebody_s_program() -> None:
    with quiet():
        send()
        send_soon()
        with pytest.raises(Interrupted):
            time.sleep(LONG)


def test_handlers_of_the_program_itself_and_signals_that_it_ignores_are_left_alone() -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: heard.append(number))
    ignored = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with quiet():
            send(signal.SIGTERM)
            send(signal.SIGINT)
            interruption.poll()
        assert heard == [signal.SIGTERM]
    finally:
        signal.signal(signal.SIGTERM, before)
        signal.signal(signal.SIGINT, ignored)


def test_in_another_thread_than_the_main_one_nothing_is_handled() -> None:
    seen: list[object] = []

    def work() -> None:
        with finishing():
            seen.append(signal.getsignal(signal.SIGINT))
            seen.append(interruptible(lambda: 5)())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler, 5]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_ends_by_sigterm_and_its_parent_does_not_hear_of_it() -> None:
    with quiet():
        child = os.fork()
        if not child:
            time.sleep(LONG)
        time.sleep(SOON)
        os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        assert os.WTERMSIG(status) == signal.SIGTERM
        interruption.wait(2 * SOON)


# Code of the user's


def test_a_user_s_function_is_ended_as_in_any_program() -> None:
    send_soon()
    with quiet(), pytest.raises(Interrupted):
        interruptible(time.sleep)(LONG)


@pytest.mark.parametrize("made_of_it", ["a value", "an error", "another interruption"])
def test_what_a_user_s_function_makes_of_it_does_not_count(made_of_it: str) -> None:
    def function() -> str:
        try:
            time.sleep(LONG)
        except KeyboardInterrupt:
            if made_of_it == "an error":
                raise RuntimeError(made_of_it) from None
            if made_of_it == "another interruption":
                raise KeyboardInterrupt from None
        return made_of_it

    send_soon()
    with quiet(), pytest.raises(Interrupted):
        interruptible(function)()


def test_what_is_lost_in_a_user_s_callback_is_raised_again_and_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def callback(_: object) -> None:
        send()
        sum(range(10_000))

    def function() -> None:
        thing = Thing()
        reference = weakref.ref(thing, callback)
        del thing
        assert reference() is None
        time.sleep(LONG)

    with quiet(), pytest.raises(Interrupted):
        interruptible(function)()
    assert capfd.readouterr().err == ""


def test_what_a_user_s_function_writes_is_written_to_its_end() -> None:
    written = []

    @shielded
    def write() -> None:
        send()
        time.sleep(SOON)
        written.append(1)

    def function() -> None:
        write()
        written.append(2)

    with quiet(), pytest.raises(Interrupted):
        interruptible(function)()
    assert written == [1]


# Databases


def test_after_a_signal_a_database_in_trouble_is_not_tried_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interruption, "PATIENCE", 2 * SOON)
    attempts = []

    def attempt() -> None:
        attempts.append(1)
        raise StoreBusyError("cannot write: another process holds its lock.")

    with quiet():
        send_soon()
        with pytest.raises(StoreBusyError, match="Interrupted after"):
            RetryPolicy(seconds=LONG, first=0.01)(attempt)
        assert len(attempts) > 1
        assert interruption.came()


def test_after_a_signal_another_one_s_lock_is_not_waited_for_for_long(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(interruption, "PATIENCE", SOON)
    held, wanted = (database_mutex(database_url, "a study", LONG) for _ in range(2))
    with held, quiet():
        send_soon()
        with pytest.raises(StoreBusyError, match="another process has held the lock"):
            wanted.__enter__()
        assert interruption.came()
    with wanted:  # and nothing is left of the attempt
        assert wanted.now() > 0
    held.close()
    wanted.close()


# Processes

PROGRAM = """
    import hashlib, sys
    from lyapopt import interruption
    interruption.watch_command()
    def in_c():
        print("there", flush=True)
        hashlib.pbkdf2_hmac("sha256", b"", b"", 10**9)
    if "finishing" in sys.argv:
        with interruption.finishing():
            in_c()
    in_c()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(("argument", "signals"), [("", 1), ("finishing", 2)])
def test_a_command_is_stopped_at_once_in_a_long_call_into_c(
    number: int, argument: str, signals: int
) -> None:
    assert hashlib.pbkdf2_hmac  # of OpenSSL, which lets other threads go on
    process = program(PROGRAM, argument)
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline()
    said = ""
    for left in reversed(range(signals)):
        process.send_signal(number)
        if left:
            said += process.stderr.readline()
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert ("a second one stops at once" in said) == (signals == 2)
    assert rest == "interrupted\n"


def program(text: str, *arguments: str) -> subprocess.Popen[str]:
    root = str(Path(lyapopt.__file__).parents[1])
    paths = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH", "")]))
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(text), *arguments],
        env={**os.environ, "PYTHONPATH": paths},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
