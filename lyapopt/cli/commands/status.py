"""`lyapopt status`: where a study stands."""

from __future__ import annotations

from typing import Annotated

import typer

from lyapopt.cli.arguments import Format, OutputFormat, Storage, Study


def status(
    storage: Storage,
    study: Study = None,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Go on showing it, until Ctrl-C.")
    ] = False,
    form: OutputFormat = Format.TABLE,
) -> int:
    """Show where a study stands: counts, the best trial, compute spent, what is running."""
    # Imported here for `--help`: SQLAlchemy, 0.4 s.
    from lyapopt.cli.standing import show, watch_it

    return watch_it(storage, study, form.value) if watch else show(storage, study, form.value)
