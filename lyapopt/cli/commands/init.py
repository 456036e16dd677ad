"""`lyapopt init`: writes a study file to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Literal

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.text import echo
from lyapopt.display import printable


def init(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The study file to write.")] = Path(
        "study.yaml"
    ),
    template: Annotated[
        Literal["xor", "digits", "custom"],
        typer.Option("--template", "-t", help="What it trains; custom is a network of your own."),
    ] = "digits",
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there already.")
    ] = False,
) -> int:
    """Write a commented study file that runs as it is."""
    # Imported here for `--help`: 0.3 s.
    from lyapopt.study.templates import Template, template_files, write_files

    for path in write_files(template_files(Template(template), file), replace=force):
        echo(f"wrote {printable(str(path))}")
    echo(f"run it: lyapopt run {printable(shlex.quote(str(file)))}")
    return exit_codes.DONE
