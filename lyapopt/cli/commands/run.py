"""`lyapopt run`: runs the study of a file, or goes on with it."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from lyapopt import garbage
from lyapopt.cli.arguments import File, Overrides, Quiet


def run(
    file: File,
    overrides: Overrides = None,
    extra: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Run N more trials than the study has, if the budget pays for them.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would run; touch no storage.")
    ] = False,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Delete the study first, with all its data.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether to delete.")] = False,
    quiet: Quiet = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Processes on this machine; as the file says."),
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Workers on the Dask cluster of this scheduler."),
    ] = None,
) -> int:
    """Run the study of a file, or go on with it.

    Exit codes: 0 done, 1 failed, 2 invalid input, 3 no completed trial, 130 interrupted by Ctrl-C,
    143 by SIGTERM. Then what is being written is finished, trials that were running are run again,
    and the same command goes on; a second Ctrl-C stops at once, and it goes on all the same.
    """
    # Imported here for `--help` (0.3 s), and in parts: a file with mistakes is refused before torch
    # and Optuna are imported (3.5 s).
    with garbage.kept():
        from lyapopt.study.file import load_study_file
    if dry_run:
        study = load_study_file(file, overrides or [], named_objects=True)
        from lyapopt.cli.dry_run import show

        return show(study, extra)
    started = time.monotonic()
    study = load_study_file(file, overrides or [])
    with garbage.kept():
        from lyapopt.cli.running import Options, run_study_file
    options = Options(file, overrides or (), started, extra, fresh, yes, quiet, workers, dask)
    return run_study_file(study, options)
