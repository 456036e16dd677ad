"""Runs a study that was read from its file, shows how it goes, and says how it ended."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer
from rich.console import Console

from lyapopt.cli import exit_codes, logs
from lyapopt.cli.dry_run import in_words
from lyapopt.cli.live import LiveListener
from lyapopt.cli.progress import LineListener, NoteListener, ProgressListener
from lyapopt.cli.summary import print_best_line, print_summary
from lyapopt.cli.text import echo, plural
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.interruption import Interrupted, at_once, finishing
from lyapopt.store.errors import masked
from lyapopt.store.retry import RetryPolicy
from lyapopt.study.admin.deletion import delete_study, number_of_trials
from lyapopt.study.analysis.overview import Overview, load_study
from lyapopt.study.file import StudyFile
from lyapopt.study.run.choices import with_choices
from lyapopt.study.run.cluster import run_on_dask
from lyapopt.study.run.earlier import check_warm_start
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.promotion import promoted_file
from lyapopt.study.run.runner import RunResult, promote, run_study
from lyapopt.study.run.workers import run_workers
from lyapopt.web.following import Following


@dataclass(frozen=True)
class Options:
    """How `lyapopt run` was called.

    Attributes:
        path: The study file.
        overrides: Values of the file that were replaced, as `key=value`.
        started: When the command began, by `time.monotonic`.
        extra: Number of trials to run beyond those that the study has.
        fresh: Whether to delete the study first.
        yes: Whether that needs no confirmation.
        quiet: Whether to print the best trial and nothing else.
        workers: Processes on this machine; `None` for as many as the file says.
        dask: Address of the scheduler of a Dask cluster to run on instead.
    """

    path: Path
    overrides: Sequence[str]
    started: float
    extra: int | None = None
    fresh: bool = False
    yes: bool = False
    quiet: bool = False
    workers: int | None = None
    dask: str | None = None


def run_study_file(file: StudyFile, options: Options) -> int:
    """Run a study and return the exit code.

    Raises:
        UserError: If something that the file names cannot be used.
    """
    console = logs.configure(file.output.log_level, quiet=options.quiet)
    if options.fresh:
        _delete(with_choices(file)[0], options)
    file, chosen = with_choices(file)
    listener = listener_for(file, console, quiet=options.quiet)
    with finishing(listener.note), at_once(listener.abandon):
        with listener:
            following = Following(listener, file)
            for line in () if chosen is None else in_words(chosen):
                listener.note(line)
            result = _run(file, following, options)
        if result.interrupted:
            done = plural(len(result.ledger.done), "trial")
            print(f"interrupted with {done} done; the same command goes on", file=sys.stderr)
            raise Interrupted
    _conclude(file, result, options)
    if result.promoted is None:
        following.conclude([file.study_name])
        return exit_code(file, result)
    full = promoted_file(file)
    _conclude_promoted(full, result.promoted, options)
    following.conclude([file.study_name, full.study_name])
    return exit_code(file, result.promoted)


def listener_for(file: StudyFile, console: Console, *, quiet: bool) -> ProgressListener:
    """The listener that a file's `output` section, the terminal and `--quiet` ask for."""
    progress = file.output.progress
    if quiet:
        return ProgressListener()
    if progress == "none":
        return NoteListener(console)
    is_screen = console.is_terminal and not console.is_dumb_terminal
    if progress == "lines" or (progress == "auto" and not is_screen):
        return LineListener(file, console)
    return LiveListener(file, console)


def _run(file: StudyFile, listener: StudyListener, options: Options) -> RunResult:
    """In this process, in several, or on a cluster; the best in full, here, where that is asked."""
    if options.dask is not None:
        result = run_on_dask(file, options.dask, listener, extra=options.extra)
        return promote(file, result, listener)
    count = options.workers or file.workers
    if count > 1:
        result = run_workers(file, count, listener, extra=options.extra)
        return promote(file, result, listener)
    return run_study(file, listener, extra=options.extra)


def exit_code(file: StudyFile, result: RunResult) -> int:
    """The exit code of a run that was not interrupted."""
    if not result.ledger.states["complete"]:
        return exit_codes.NO_COMPLETED_TRIAL
    limit = file.on_failure.max_failures
    if limit is not None and result.ledger.states["failed"] > limit:
        return exit_codes.FAILED
    return exit_codes.DONE


def _conclude(file: StudyFile, result: RunResult, options: Options) -> None:
    seconds = time.monotonic() - options.started if result.new else None
    retry = RetryPolicy()  # a server may be restarted at the very end, too
    study = retry(lambda: load_study(file.storage, file.study_name, file.store))
    overview = Overview.of(study)
    if options.quiet:
        if result.promoted is None:
            print_best_line(overview)
        return
    reason = result.reason
    if result.new == 0:
        reason = f"nothing to do: {reason}"
    again, *later = _commands(file, options)
    if not overview.best and overview.states["failed"]:
        reason += f"\nonce the cause is mended: {again} --fresh"
    elif file.n_trials is not None and len(result.ledger.done) >= file.n_trials:
        more = f"{again} --extra 20" if _pays_for_more(file, result) else "with a larger budget"
        reason += f"\nmore: {more}"
    print_summary(study, overview, reason, seconds, later)


def _pays_for_more(file: StudyFile, result: RunResult) -> bool:
    """Whether the budget, if there is one, has another trial in it."""
    if file.budget is None:
        return True
    spent = result.ledger.gradient_evaluations
    if file.promote and result.promoted is None:
        return False  # nothing was left to train the best in full
    full = 0.0 if result.promoted is None else result.promoted.ledger.gradient_evaluations
    return file.budget.gradient_evaluations - spent - full >= spent / len(result.ledger.done)


def _conclude_promoted(file: StudyFile, result: RunResult, options: Options) -> None:
    """The same for the best trials, which were trained in full."""
    study = load_study(file.storage, file.study_name, file.store)
    overview = Overview.of(study)
    if options.quiet:
        print_best_line(overview)
        return
    best = [_program(), "best", masked(file.storage), "--study", file.study_name]
    echo()
    print_summary(study, overview, result.reason, None, [shlex.join(best)])


def _commands(file: StudyFile, options: Options) -> list[str]:
    """To run it again, to see the best trial, to open the dashboard: ready to paste."""
    path = str(options.path)
    sets = [part for text in options.overrides for part in ("--set", text)]
    study, storage = [path], [path]
    if sets:
        storage = [masked(file.storage)]
        study = [*storage, "--study", file.study_name]
    commands = (["run", path, *sets], ["best", *study], ["dashboard", *storage])
    return [shlex.join([_program(), *command]) for command in commands]


def _program() -> str:
    """`lyapopt`, or the path that it was called by where the shell would not find it."""
    called = sys.argv[0]
    if os.path.basename(called) != "lyapopt":
        return "lyapopt"
    found = shutil.which("lyapopt")
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return "lyapopt" if is_found or not os.path.exists(called) else called


def _delete(file: StudyFile, options: Options) -> None:
    """Delete the study of a file, if there is one and the user is sure."""
    there = number_of_trials(file)
    if there is None:
        return
    trials = plural(there, "trial")
    what = f"study {file.study_name!r} with {trials} in {masked(file.storage)}"
    if not options.yes:
        if not sys.stdin.isatty():
            raise UserError(f"--fresh deletes {what}; confirm with --yes")
        typer.confirm(f"delete {one_line(what)}?", abort=True, err=True)
    check_warm_start(file)
    with finishing():
        delete_study(file)
