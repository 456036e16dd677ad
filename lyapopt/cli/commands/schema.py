"""`lyapopt schema`: prints the JSON Schema of study files."""

from __future__ import annotations

import typer


def schema() -> None:
    """Print the JSON Schema of study files, for editors."""
    # Imported here for `--help`: 0.3 s.
    from lyapopt.study.file import json_schema_text

    typer.echo(json_schema_text(), nl=False)
