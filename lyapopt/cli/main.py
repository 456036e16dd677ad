"""`lyapopt`: the commands in the order of `--help`, each in a file of its own."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from lyapopt import __version__
from lyapopt.cli.commands import bench, storage
from lyapopt.cli.commands.best import best
from lyapopt.cli.commands.dashboard import dashboard
from lyapopt.cli.commands.init import init
from lyapopt.cli.commands.replay import replay
from lyapopt.cli.commands.report import report
from lyapopt.cli.commands.run import run
from lyapopt.cli.commands.schema import schema
from lyapopt.cli.commands.status import status
from lyapopt.cli.commands.trials import trials
from lyapopt.cli.commands.validate import validate
from lyapopt.cli.commands.worker import worker
from lyapopt.cli.examples import with_examples
from lyapopt.cli.exit_codes import run_reporting_failures
from lyapopt.interruption import watched_command

app = typer.Typer(
    name="lyapopt",
    help="Hyperparameter search for PyTorch on Optuna, guided by the dynamics of training.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _command in (
    init,
    run,
    worker,
    validate,
    schema,
    status,
    trials,
    best,
    replay,
    report,
    dashboard,
):
    app.command()(_command)
app.add_typer(storage.app, name="storage")
app.add_typer(bench.app, name="bench")
with_examples(app)


def _print_version(is_asked_for: bool) -> None:
    if is_asked_for:
        typer.echo(f"lyapopt {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an unexpected error.")
    ] = False,
) -> None:
    """Read the options that come before the command."""


def main() -> int:
    """Run the command line, and return its exit code."""
    for name in ("stdout", "stderr"):  # a stream that was closed (`>&-`) is None
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 (open until exit)
    with watched_command():
        return run_reporting_failures(app)


if __name__ == "__main__":
    raise SystemExit(main())
