"""Runs a study, and trains the best of a cheap one in full: what a user calls."""

from __future__ import annotations

from dataclasses import replace

from lyapopt.checks import Arguments
from lyapopt.dynamics.threads import one_thread
from lyapopt.interruption import finishing
from lyapopt.search._optuna import inside_optimize
from lyapopt.study.file import StudyFile
from lyapopt.study.run.choices import with_choices
from lyapopt.study.run.events import RunResult, StudyListener
from lyapopt.study.run.execution import Execution
from lyapopt.study.run.folder import same_folder
from lyapopt.study.run.opening import OpenStudy
from lyapopt.study.run.promotion import Promotion, promotion
from lyapopt.study.run.worker_table import WorkerSettings

__all__ = ["RunResult", "promote", "run_study"]


def run_study(
    file: StudyFile,
    listener: StudyListener | None = None,
    *,
    extra: int | None = None,
    total: int | None = None,
    settings: WorkerSettings | None = None,
    promotes: bool = True,
) -> RunResult:
    """Create or resume the study of a file, and run the trials that it still lacks.

    Any number of processes may do so with one study at the same time: each is then a worker, and
    totals hold across them (`lyapopt.study.run.leases`).

    Args:
        file: A validated study file.
        listener: Told what happens.
        extra: Run so many more trials than the study has, whatever `n_trials` says; a budget holds.
        total: Run until so many trials count, whatever `n_trials` says.
        settings: How this worker behaves towards others and towards its database.
        promotes: Whether the best trials are trained in full then, if the file says `promote`.

    Returns:
        What the run came to. An interruption (Ctrl-C, SIGTERM) is a result, not an error: trials
        that have ended are kept, those that were running are marked and run again next time. It
        ends the step of a training, a write; within a user's own function objective or build
        function it raises `KeyboardInterrupt`. A second one raises it wherever it lands. Handlers
        are those of before afterwards; signals that a program handles itself are left to it, and in
        another thread than the main one there are none.

    Raises:
        UserError: If the file asks for something that cannot be had: a module that is not there, a
            database that cannot be opened, or that was in trouble for longer than
            `settings.retry_seconds`. Trials that had ended are then kept in spill files.
    """
    check = Arguments("run_study")
    loaded = "a study file that was read: lyapopt.load_study_file('study.yaml')"
    check.instance("file", file, StudyFile, loaded)
    listener, settings = listener or StudyListener(), settings or WorkerSettings()
    check.instance("listener", listener, StudyListener, "a StudyListener")
    check.optional(check.whole, "extra", extra, least=0)
    check.optional(check.whole, "total", total, least=0)
    check.instance("settings", settings, WorkerSettings, "WorkerSettings")
    check.flag("promotes", promotes)
    file, _ = with_choices(file.resolved())  # a user's code may change the working directory
    with same_folder(), finishing():
        result = _run(file, listener, settings, extra, total)
        return promote(file, result, listener, settings) if promotes else result


def promote(
    file: StudyFile,
    result: RunResult,
    listener: StudyListener,
    settings: WorkerSettings | None = None,
) -> RunResult:
    """Train the best trials of a study that has ended in full, if its file says `promote`.

    Args:
        file: The study's file.
        result: What running it came to.
        listener: Told what happens.
        settings: As for `run_study`.

    Returns:
        The result, with what the trainings came to.
    """
    settings = settings or WorkerSettings()
    file, _ = with_choices(file)
    if not file.promote or result.interrupted:
        return result
    file = file.resolved()
    chosen = promotion(file, result.ledger, listener, settings)
    if chosen is None:
        return result
    with same_folder(), finishing():
        promoted = _run(chosen.file, listener, settings, promotion=chosen)
    return replace(result, promoted=promoted, interrupted=promoted.interrupted)


def _run(
    file: StudyFile,
    listener: StudyListener,
    settings: WorkerSettings,
    extra: int | None = None,
    total: int | None = None,
    promotion: Promotion | None = None,
) -> RunResult:
    given, networks = (promotion.sampler(), promotion.networks) if promotion else (None, None)
    with one_thread():
        opened = OpenStudy.open(file, listener, settings, given, networks)
        with inside_optimize(opened.study):
            try:
                return Execution(opened).run(extra, total)
            finally:
                opened.close()
