"""`lyapopt validate`: checks a study file."""

from __future__ import annotations

import typer

from lyapopt.cli.arguments import File, Overrides


def validate(file: File, overrides: Overrides = None) -> None:
    """Check a study file without running it or touching its storage."""
    # Imported here for `--help`: 0.3 s.
    from lyapopt.study.file import load_study_file

    study = load_study_file(file, overrides or [])
    typer.echo(f"{file}: study {study.study_name!r} is valid")
