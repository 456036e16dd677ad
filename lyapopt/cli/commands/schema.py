"""`lyapopt schema`: prints the JSON Schema of study files, or of dashboard files."""

from __future__ import annotations

from typing import Annotated

import typer


def schema(
    dashboard: Annotated[
        bool, typer.Option("--dashboard", help="Of dashboard files instead.")
    ] = False,
) -> None:
    """Print the JSON Schema of study files, for editors."""
    # Imported here for `--help`: 0.3 s, and pandas with plotly 1 s.
    if dashboard:
        from lyapopt.web.layouts.schema import dashboard_schema_text

        typer.echo(dashboard_schema_text(), nl=False)
        return
    from lyapopt.study.file import json_schema_text

    typer.echo(json_schema_text(), nl=False)
