"""`lyapopt worker`: joins a study that several machines share."""

from __future__ import annotations

from lyapopt.cli.arguments import File, Overrides, Quiet
from lyapopt.cli.commands.run import run


def worker(file: File, overrides: Overrides = None, quiet: Quiet = False) -> int:
    """Join a study on a database that several machines share, until it has all its trials."""
    return run(file, [*(overrides or []), "load_if_exists=true"], quiet=quiet, workers=1)
