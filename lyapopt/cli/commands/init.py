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
    source: Annotated[
        Path | None,
        typer.Option(
            "--from", metavar="FILE", help="Convert a W&B sweep, NNI or Hydra-Optuna file."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that are there already.")
    ] = False,
) -> int:
    """Write a commented study file that runs as it is, or convert another tool's."""
    # Imported here for `--help`: 0.3 s.
    from lyapopt.study.templates import Template, template_files, write_files

    if source is not None:
        return _convert(source, file, force)
    for path in write_files(template_files(Template(template), file), replace=force):
        echo(f"wrote {printable(str(path))}")
    echo(f"run it: lyapopt run {printable(shlex.quote(str(file)))}")
    return exit_codes.DONE


def _convert(source: Path, file: Path, force: bool) -> int:
    from lyapopt.study.convert.files import converted_files
    from lyapopt.study.file import StudyFileError, load_study_file
    from lyapopt.study.templates import write_files

    found, files = converted_files(source, file)
    for path in write_files(files, replace=force):
        echo(f"wrote {printable(str(path))}")
    for text in found.left:
        echo(f"not carried over: {printable(text)}")
    try:
        load_study_file(file)
    except StudyFileError as error:
        echo(f"still to be mended:\n{error}")
    echo(f"next: lyapopt validate {printable(shlex.quote(str(file)))}")
    return exit_codes.DONE
