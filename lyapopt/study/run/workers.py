"""Several processes on this machine that run one study together."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from dataclasses import dataclass, field
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.store.states import INTERRUPTED
from lyapopt.study.file import StudyFile
from lyapopt.study.run.events import WAITING, RunResult, StudyEvent, StudyListener
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import open_study
from lyapopt.study.run.plan import total_of
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.worker_table import WorkerSettings

_DEATHS_IN_A_ROW = 5
_INTERRUPTED = 130  # exit code
_POLL = 0.1  # seconds
_PRELOADED = ["lyapopt.study.run.workers", "torch._dynamo", "sklearn", "alembic"]


def run_workers(
    file: StudyFile,
    count: int,
    listener: StudyListener | None = None,
    *,
    extra: int | None = None,
    settings: WorkerSettings | None = None,
) -> RunResult:
    """Run a study with several processes on this machine that share its storage.

    Each is a worker as `run_study` is: totals hold across them and all others that run the study.
    A worker that dies is replaced, and its trials are run again; if workers die again and again
    while no trial ends, no more are started. Ctrl-C and SIGTERM end them all, each as it
    ends `run_study`, and so does the death of this process; a second one kills them.

    Args:
        file: A validated study file.
        count: How many processes.
        listener: Told what happens in any of them.
        extra: Run so many more trials than the study has, whatever `n_trials` says; a budget holds.
        settings: How each behaves towards others and towards its database.

    Raises:
        UserError: What `run_study` raises, if it ended every worker, or if they all died.
    """
    listener = listener or StudyListener()
    settings = settings or WorkerSettings()
    with interruption.finishing():
        return _run(file, count, listener, extra, settings)


def _run(
    file: StudyFile,
    count: int,
    listener: StudyListener,
    extra: int | None,
    settings: WorkerSettings,
) -> RunResult:
    study = open_study(file, listener, settings)
    before = Ledger.of(study, file.on_failure.max_retries)
    total = total_of(file, len(before.done), extra)
    listener.started(StudyEvent(study.study_name, total, before))
    task = _Task(shared(file), total, settings, optuna.logging.get_verbosity())
    crew = _Crew(task, listener)
    with interruption.at_once(crew.kill):
        crew.work(count)
    after = Ledger.of(study, file.on_failure.max_retries)
    if crew.errors and not crew.results and not interruption.came():
        raise UserError(crew.errors[0])
    ended = bool(crew.results) and not any(result.interrupted for result in crew.results)
    interrupted = interruption.came() or not ended
    reason = INTERRUPTED if interrupted else crew.results[-1].reason
    listener.stopped(StudyEvent(study.study_name, total, after), reason)
    return RunResult(after, crew.finished, reason, interrupted)


def shared(file: StudyFile) -> StudyFile:
    """The file as other processes get it: the study exists by now, and paths are absolute."""
    copy = file.model_copy(update={"load_if_exists": True, "workers": 1})
    return copy.resolved()


@dataclass(frozen=True)
class _Task:
    """What each process does.

    Attributes:
        file: The study's file.
        total: How many trials are to count, if that is limited.
        settings: How it behaves.
        verbosity: Level of Optuna's log.
    """

    file: StudyFile
    total: int | None
    settings: WorkerSettings
    verbosity: int


@dataclass
class _Crew:
    """The processes, and what they have said.

    Attributes:
        task: What each of them does.
        listener: Told what they say.
        running: Those that have not ended.
        results: What those came to that ended as they should.
        errors: What ended the others.
        finished: How many trials they have finished.
        deaths_in_a_row: How many died since a trial ended.
    """

    task: _Task
    listener: StudyListener
    running: dict[Connection, BaseProcess] = field(default_factory=dict)
    results: list[RunResult] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    finished: int = 0
    deaths_in_a_row: int = 0
    _done: set[Connection] = field(default_factory=set)
    _is_ending: bool = False

    def work(self, count: int) -> None:
        """Start so many processes, and pass on what they say until the last has ended."""
        try:
            for _ in range(count):
                if not interruption.came():
                    self._start()
            while self.running:
                self._listen()
                self._forward()
        finally:
            for process in self.running.values():
                while process.is_alive():
                    self._forward()
                    process.join(_POLL)

    def kill(self) -> None:
        """End them at once."""
        for process in list(self.running.values()):
            process.kill()

    def _start(self) -> None:
        context = _context()
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(self.task, theirs))
        try:
            with interruption.undelivered():
                process.start()
        except (OSError, EOFError):
            if not interruption.came():  # SIGTERM to all of us ends the server of processes, too
                raise
            return
        theirs.close()
        self.running[ours] = process

    def _forward(self) -> None:
        """Let a signal end them all, once."""
        if interruption.came() and not self._is_ending:
            self._is_ending = True
            for process in self.running.values():
                process.terminate()

    def _listen(self) -> None:
        """Pass on what they say for a moment."""
        for connection in wait(list(self.running), _POLL):
            assert isinstance(connection, Connection)
            try:
                self._hear(connection, *connection.recv())
            except EOFError:
                if self._has_died(connection) and not interruption.came():
                    self._replace()

    def _hear(self, connection: Connection, what: str, *details: Any) -> None:
        match what:
            case "result":
                self.results.append(*details)
                self._done.add(connection)
            case "error":
                self.errors.append(*details)
                self._done.add(connection)
                self.listener.note(f"a worker ended: {one_line(details[0])}")
            case _:
                if what == "finished":
                    self.finished += 1
                    self.deaths_in_a_row = 0
                getattr(self.listener, what)(*details)

    def _has_died(self, connection: Connection) -> bool:
        """Whether a process that has ended was killed, or ended without a result."""
        process = self.running.pop(connection)
        process.join()
        code = process.exitcode or 0
        if connection in self._done or code == _INTERRUPTED or interruption.came():
            return False
        cause = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"died (code {code})"
        text = f"worker {process.pid} {cause}; its trials are run again"
        self.errors.append(text)
        self.listener.note(text)
        return True

    def _replace(self) -> None:
        """Start another one, unless they die again and again and no trial ends."""
        self.deaths_in_a_row += 1
        policy = self.task.file.on_failure
        # So many deaths can one trial cause for each that runs beside it, before it is given up.
        limit = (len(self.running) + 1) * (policy.max_deaths or _DEATHS_IN_A_ROW)
        if self.deaths_in_a_row <= limit:
            self._start()


class _Relay(StudyListener):
    """Sends what happens to the process that started this one, except what begins one worker."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def note(self, text: str) -> None:
        """Send it on, unless it is about one worker only."""
        if text != WAITING:
            self.send("note", text)

    def group_started(self, numbers: list[int]) -> None:
        """Send it on."""
        self.send("group_started", numbers)

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        """Send it on."""
        self.send("finished", trial, reason)

    def send(self, *message: object) -> None:
        """Send a message: what has happened, and its details."""
        try:
            self._connection.send(message)
        except OSError:  # nobody listens any more
            return


def _work(task: _Task, connection: Connection) -> None:
    """What a worker process does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it through its parent, once
    optuna.logging.set_verbosity(task.verbosity)
    relay = _Relay(connection)
    try:
        with interruption.finishing(as_worker=True):
            interruption.deliver()
            _end_with_parent()
            result = run_study(
                task.file, relay, total=task.total, settings=task.settings, promotes=False
            )
            relay.send("result", result)
    except UserError as error:
        relay.send("error", str(error))
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(_INTERRUPTED)
    finally:
        connection.close()


def _end_with_parent() -> None:
    """Be interrupted when the parent dies, however it dies."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, name="lyapopt-parent", daemon=True).start()


def _context() -> ForkServerContext | SpawnContext:
    """How processes are made: forked from a server that has imported what takes long, if it can.

    A plain fork would copy the threads' locks of this process; spawning imports torch each time.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    resource_tracker.ensure_running()  # here: it lets signals be delivered to this process
    return context
