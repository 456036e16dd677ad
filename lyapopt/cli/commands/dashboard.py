"""`lyapopt dashboard`: serves optuna-dashboard for a storage."""

from __future__ import annotations

from typing import Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Storage
from lyapopt.cli.text import echo
from lyapopt.display import one_line
from lyapopt.interruption import finishing


def dashboard(
    storage: Storage,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65535, help="Port; by default 8080, or the next one that is free."),
    ] = None,
    host: Annotated[str, typer.Option(help="Address of this machine to listen on.")] = "127.0.0.1",
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse everything that would change the storage.")
    ] = False,
) -> int:
    """Serve optuna-dashboard for a storage, until Ctrl-C.

    Exit codes: 0 after Ctrl-C, 143 after SIGTERM, 2 invalid input.
    """
    # Imported here for `--help`, and in two parts: a wrong argument is refused without Optuna, 1 s.
    from lyapopt.cli.target import target_of
    from lyapopt.web import bind, dashboard_app, require_dashboard

    require_dashboard()
    target = target_of(storage)
    from lyapopt.cli import logs
    from lyapopt.store.errors import masked
    from lyapopt.study.run.storage import open_storage

    logs.configure("warning")
    server = bind(host, port)
    app = dashboard_app(
        open_storage(target.storage, create=False), server.host, server.port, read_only=read_only
    )
    suffix = " (read-only)" if read_only else ""
    with finishing(lambda _: None):
        echo(f"dashboard of {one_line(masked(target.storage))}{suffix}: {server.url}")
        echo("Ctrl-C ends it", err=True)
        server.serve(app)
    return exit_codes.DONE  # Ctrl-C is how a dashboard is meant to end
