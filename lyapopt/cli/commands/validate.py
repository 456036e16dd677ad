"""`lyapopt validate`: checks a study file."""

from __future__ import annotations

from lyapopt import garbage
from lyapopt.cli.arguments import File, Overrides
from lyapopt.cli.text import echo
from lyapopt.display import printable


def validate(file: File, overrides: Overrides = None) -> None:
    """Check a study file without running it or touching its storage."""
    # Imported here for `--help`: 0.3 s.
    with garbage.kept():
        from lyapopt.study.file import load_study_file
    study = load_study_file(file, overrides or [], named_objects=True)
    echo(f"{printable(str(file))}: study {study.study_name!r} is valid")
