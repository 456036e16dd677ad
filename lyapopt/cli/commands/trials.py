"""`lyapopt trials`: every trial of a study."""

from __future__ import annotations

from typing import Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Format, OutputFormat, Storage, Study


def trials(
    storage: Storage,
    study: Study = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPRESSION", help="Only trials for which this holds."),
    ] = None,
    sort: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Order by these, -column for descending."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(metavar="COLUMNS", help="Show these, or all; also attributes, step, seconds."),
    ] = None,
    form: OutputFormat = Format.TABLE,
) -> int:
    """List the trials of a study, with exponents, intervals and verdicts."""
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.fields import Fields
    from lyapopt.cli.output import print_trials
    from lyapopt.cli.selection import filtered, ordered
    from lyapopt.cli.target import stored_study

    found = stored_study(storage, study).trials
    fields = Fields(found)
    names = None if columns is None else fields.named(columns, "--columns")
    shown = found if where is None else filtered(found, where, fields)
    if sort is not None:
        shown = ordered(shown, sort, fields)
    print_trials(shown, form.value, names, fields)
    return exit_codes.DONE
