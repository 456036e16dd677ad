"""`lyapopt run`: runs a study, shows how it goes, says how it ended."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.numbers import plural
from lyapopt.cli.program import program
from lyapopt.errors import UserError
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.run.interruption import sigterm_interrupts

if TYPE_CHECKING:
    from lyapopt.study.run.events import StudyListener
    from lyapopt.study.run.runner import RunResult


@dataclass(frozen=True)
class Options:
    """Options of `lyapopt run`.

    Attributes:
        extra: Trials to run more than the study has.
        fresh: Whether to delete the study first.
        yes: Whether that needs no confirmation.
        quiet: Whether to print the best trial and nothing else.
        workers: Processes on this machine; `None` for as many as the file says.
        dask: Address of the scheduler of a Dask cluster to run on instead.
    """

    extra: int | None = None
    fresh: bool = False
    yes: bool = False
    quiet: bool = False
    workers: int | None = None
    dask: str | None = None


def run(path: Path, overrides: Sequence[str], options: Options) -> int:
    """Run a study file and return the exit code.

    Raises:
        UserError: If the file, or something that it names, cannot be used.
    """
    with sigterm_interrupts():
        return _run_file(path, overrides, options)


def _run_file(path: Path, overrides: Sequence[str], options: Options) -> int:
    started = time.monotonic()
    file = load_study_file(path, overrides)

    from lyapopt.cli import logs
    from lyapopt.cli.progress import listener_for

    console = logs.configure(file.output.log_level, quiet=options.quiet)
    if options.fresh:
        _delete(file, options)
    listener = listener_for(file, console, quiet=options.quiet)
    with listener:
        result = _run(file, listener, options)
    if result.interrupted:
        return _interrupted(result)
    seconds = time.monotonic() - started if result.new else None
    _conclude(file, result, seconds, options, (path, overrides))
    if result.promoted is None:
        return exit_code(file, result)
    from lyapopt.study.run.promotion import promoted_file

    _conclude_promoted(promoted_file(file), result.promoted, options)
    return exit_code(file, result.promoted)


def _run(file: StudyFile, listener: StudyListener, options: Options) -> RunResult:
    """In this process, in several, or on a cluster; the best in full, here, where that is asked."""
    from lyapopt.study.run.runner import promote, run_study

    if options.dask is not None:
        from lyapopt.study.run.cluster import run_on_dask

        result = run_on_dask(file, options.dask, listener, extra=options.extra)
        return promote(file, result, listener)
    count = options.workers or file.workers
    if count > 1:
        from lyapopt.study.run.workers import run_workers

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


def _conclude(
    file: StudyFile,
    result: RunResult,
    seconds: float | None,
    options: Options,
    given: tuple[Path, Sequence[str]],
) -> None:
    from lyapopt.cli.summary import print_best_line, print_summary
    from lyapopt.store.retry import RetryPolicy
    from lyapopt.study.analysis.overview import Overview, load_study

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
    again, *later = _commands(file, *given)
    if not overview.best and overview.states["failed"]:
        reason += f"\nonce the cause is mended: {again} --fresh"
    elif file.n_trials is not None and len(result.ledger.done) >= file.n_trials:
        reason += f"\nmore: {again} --extra 20"
    print_summary(study, overview, reason, seconds, later)


def _conclude_promoted(file: StudyFile, result: RunResult, options: Options) -> None:
    """The same of the best trials that were trained in full."""
    from lyapopt.cli.summary import print_best_line, print_summary
    from lyapopt.study.analysis.overview import Overview, load_study
    from lyapopt.study.run.storage import masked

    study = load_study(file.storage, file.study_name, file.store)
    overview = Overview.of(study)
    if options.quiet:
        print_best_line(overview)
        return
    best = [program(), "best", masked(file.storage), "--study", file.study_name]
    typer.echo()
    print_summary(study, overview, result.reason, None, [shlex.join(best)])


def _commands(file: StudyFile, path: Path, overrides: Sequence[str]) -> list[str]:
    """To run it again, to see the best trial, to open the dashboard: ready to paste."""
    from lyapopt.study.run.storage import masked

    sets = [part for text in overrides for part in ("--set", text)]
    study, storage = [str(path)], [str(path)]
    if sets:
        storage = [masked(file.storage)]
        study = [*storage, "--study", file.study_name]
    commands = (
        ["run", str(path), *sets],
        ["best", *study],
        ["dashboard", *storage],
    )
    return [shlex.join([program(), *command]) for command in commands]


def _interrupted(result: RunResult) -> int:
    done = plural(len(result.ledger.done), "trial")
    print(f"interrupted: {done} are kept; the same command goes on", file=sys.stderr)
    return exit_codes.INTERRUPTED


def _delete(file: StudyFile, options: Options) -> None:
    """Delete the study of a file, if there is one and the user is sure."""
    from lyapopt.study.admin.deletion import delete_study, number_of_trials
    from lyapopt.study.run.storage import masked

    there = number_of_trials(file)
    if there is None:
        return
    trials = plural(there, "trial")
    what = f"study {file.study_name!r} with {trials} in {masked(file.storage)}"
    if not options.yes:
        if not sys.stdin.isatty():
            raise UserError(f"--fresh deletes {what}; confirm with --yes")
        typer.confirm(f"delete {what}?", abort=True, err=True)
    delete_study(file)
