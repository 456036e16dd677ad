"""The WSGI application: optuna-dashboard at `/`, behind a guard."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from lyapopt.errors import UserError
from lyapopt.web.guard import Guard

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

    from optuna.storages import BaseStorage

__all__ = ["dashboard_app", "require_dashboard"]

_NEEDED = ("optuna_dashboard", "werkzeug")


def require_dashboard() -> None:
    """Say how to install the dashboard if it is missing.

    Raises:
        UserError: If it is.
    """
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"the dashboard needs {' and '.join(missing)}, which is not installed: "
            "pip install 'lyapopt[dashboard]'"
        )


def dashboard_app(
    storage: BaseStorage,
    host: str,
    port: int,
    *,
    read_only: bool = False,
    pages: WSGIApplication | None = None,
    artifacts: Path | None = None,
    token: str | None = None,
) -> WSGIApplication:
    """optuna-dashboard over a storage, and pages of ours at `/lyapopt`.

    Args:
        storage: A cached storage, as `lyapopt.study.run.storage.open_storage` gives it: with one
            that is not, each poll of the browser reads every trial anew.
        host: Address that it is served on.
        port: Port that it is served on.
        read_only: Whether to refuse everything that would change the storage.
        pages: What answers at `/lyapopt`.
        artifacts: Folder of the pictures of trials.
        token: What each request must know, if anything.

    Raises:
        UserError: If optuna-dashboard is not installed.
    """
    require_dashboard()
    # Imported here: an optional extra.
    import optuna_dashboard
    from optuna.artifacts import FileSystemArtifactStore
    from werkzeug.middleware.dispatcher import DispatcherMiddleware

    mounted = {} if pages is None else {"/lyapopt": pages}
    store = None if artifacts is None else FileSystemArtifactStore(artifacts)
    app = DispatcherMiddleware(optuna_dashboard.wsgi(storage, artifact_store=store), mounted)
    return Guard(app, host, port, read_only=read_only, token=token)
