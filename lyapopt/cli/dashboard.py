"""`lyapopt dashboard`: serves optuna-dashboard for a storage."""

from __future__ import annotations

import typer

from lyapopt.cli import exit_codes, logs
from lyapopt.cli.target import target_of


def serve(storage: str, host: str, port: int | None, *, read_only: bool) -> int:
    """Serve until Ctrl-C.

    Args:
        storage: URL, database file or study file.
        host: Address of this machine.
        port: Port; `None` takes 8080 or the next free one.
        read_only: Whether to refuse writes.

    Returns:
        The exit code: Ctrl-C is how a dashboard is meant to end, and gives 0.

    Raises:
        UserError: If optuna-dashboard is not installed, the storage cannot be opened, or the
            address cannot be used.
    """
    from lyapopt.web import bind, dashboard_app, require_dashboard

    require_dashboard()
    target = target_of(storage)
    logs.configure("warning")
    from lyapopt.study.run.storage import masked, open_storage

    server = bind(host, port)
    app = dashboard_app(
        open_storage(target.storage, create=False), server.host, server.port, read_only=read_only
    )
    suffix = " (read-only)" if read_only else ""
    typer.echo(f"dashboard of {masked(target.storage)}{suffix}: {server.url}")
    typer.echo("Ctrl-C ends it", err=True)
    server.serve(app)
    return exit_codes.DONE
