"""Trials that train at this moment, as a table."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rich.table import Table
from rich.text import Text

from lyapopt.cli.text import assignments, short
from lyapopt.cli.trial_table import style_of
from lyapopt.study.run.events import RunningTrial

_WIDTH_WITH_PARAMETERS = 60


def running_table(trials: Sequence[RunningTrial], width: int, seeds: Collection[str]) -> Table:
    """Step, loss, exponent and verdict of each, and its parameters where there is room.

    Args:
        trials: Those to show.
        width: Width of the terminal, in characters.
        seeds: Parameters that are left out.
    """
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for title in ("running", "step", "loss", "exponent"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    has_room = width >= _WIDTH_WITH_PARAMETERS
    if has_room:
        table.add_column("parameters", no_wrap=True, overflow="ellipsis")
    for trial in trials:
        params = {name: value for name, value in trial.params.items() if name not in seeds}
        verdict = "" if trial.verdict is None else str(trial.verdict)
        cells: list[str | Text] = [
            str(trial.number),
            str(trial.steps),
            "" if trial.loss is None else short(trial.loss),
            "" if trial.exponent is None else short(trial.exponent),
            Text(verdict, style=style_of(verdict)),
            Text(assignments(params)),
        ]
        table.add_row(*cells[: None if has_room else -1])
    return table
