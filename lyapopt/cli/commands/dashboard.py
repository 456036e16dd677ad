"""`lyapopt dashboard`: serves optuna-dashboard and our pages for a storage."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated

import typer

from lyapopt.cli import exit_codes
from lyapopt.cli.arguments import Storage, Study
from lyapopt.cli.text import echo
from lyapopt.display import one_line
from lyapopt.interruption import finishing

if TYPE_CHECKING:
    from lyapopt.cli.target import Target


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
    token: Annotated[
        str | None,
        typer.Option(
            envvar="LYAPOPT_DASHBOARD_TOKEN",
            help="What a browser must know, or auto for a new one; needed for --host of a network. "
            "The connection is not encrypted.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="The dashboard to open with: a file, or overview, paper, pruning, compare.",
        ),
    ] = None,
    study: Study = None,
    refresh: Annotated[
        bool,
        typer.Option(
            "--refresh",
            help="Write the note, plots and pictures (of 100 trials of a study, the best 20 among "
            "them) for optuna-dashboard, and end.",
        ),
    ] = False,
) -> int:
    """Serve optuna-dashboard for a storage at /, and our pages at /lyapopt, until Ctrl-C.

    Exit codes: 0 after Ctrl-C, 143 after SIGTERM, 2 invalid input.
    """
    # Imported here for `--help`, and in two parts: a wrong argument is refused without Optuna, 1 s.
    from lyapopt.cli.target import target_of
    from lyapopt.web import bind, checked_token, dashboard_app, new_token, require_dashboard

    require_dashboard()
    if token is not None:
        token = new_token() if token == "auto" else checked_token(token)
    target = target_of(storage, study)
    if refresh:
        return _refresh(target)
    from lyapopt.web.layouts import find_layout

    chosen = find_layout(layout)
    from lyapopt.cli import logs
    from lyapopt.store.damage import DamagedDataWarning
    from lyapopt.store.errors import masked
    from lyapopt.study.run.storage import open_storage
    from lyapopt.web.inside.pictures import artifact_folder
    from lyapopt.web.pages.app import Pages
    from lyapopt.web.pages.shelf import Shelf

    logs.configure("warning")
    warnings.simplefilter("ignore", DamagedDataWarning)  # the page says what is damaged
    server = bind(host, port, has_token=token is not None)
    opened = open_storage(target.storage, create=False)
    shelf = Shelf(target.storage, opened, target.store)
    if study is not None:
        shelf.stamp(study)  # refuses one that is not there
    pages = Pages(shelf, chosen, target.study_name)
    app = dashboard_app(opened, server.host, server.port, read_only=read_only, pages=pages,
                        artifacts=artifact_folder(target.storage), token=token)  # fmt: skip
    suffix = " (read-only)" if read_only else ""
    query = "" if token is None else f"?token={token}"
    with finishing(lambda _: None):
        echo(f"dashboard of {one_line(masked(target.storage))}{suffix}: {server.url}{query}")
        echo(f"exponents, trajectories and decisions: {server.url}lyapopt/{query}")
        pages.warm()
        echo("Ctrl-C ends it", err=True)
        server.serve(app)
    return exit_codes.DONE  # Ctrl-C is how a dashboard is meant to end


def _refresh(target: Target) -> int:
    from lyapopt.cli import logs
    from lyapopt.web.inside import refresh_studies

    logs.configure("warning")
    names = None if target.study_name is None else [target.study_name]
    for name in refresh_studies(target.storage, names, target.store):
        echo(f"refreshed {one_line(name)}")
    return exit_codes.DONE
