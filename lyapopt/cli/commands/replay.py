"""`lyapopt replay`: trains a trial again."""

from __future__ import annotations

from typing import Annotated

import typer

from lyapopt.cli.arguments import Save, Storage, Study


def replay(
    storage: Storage,
    trial: Annotated[
        int, typer.Option(min=0, metavar="N", help="Number of the trial.", show_default=False)
    ],
    study: Study = None,
    save: Save = None,
) -> int:
    """Train a trial again, and check that it comes out the same.

    On the same machine and versions it is the same bit for bit; otherwise it is said how far off.
    Its group is trained with it, nothing is written to the study. Exit codes: 0 the same, 1 not.
    """
    # Imported here for `--help`: torch and Optuna, 3.5 s.
    from lyapopt.cli.replaying import replay_and_show

    return replay_and_show(storage, study, trial, save)
