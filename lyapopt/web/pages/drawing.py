"""Figures of a page as JSON for plotly.js."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import plotly.graph_objects as go

from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.figures.registry import FIGURES, draw
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import notice
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.figures import RecordedTables
from lyapopt.web.layouts import Panel
from lyapopt.web.pages.beside import Beside
from lyapopt.web.pages.filters import chosen_trials

MOST_BYTES: Final = 300_000
"""Of one figure."""


def figure_of(
    panel: Panel,
    data: StudyData,
    only: Mapping[str, Sequence[str]] | None = None,
    trial: int | None = None,
) -> go.Figure:
    """A figure of a study, or one that says why there is none.

    Args:
        panel: Which, with which arguments.
        data: The study.
        only: What its trials are chosen by; a figure of one trial is of that in any case.
        trial: Which trial, if it is a figure of one; by default the best.
    """
    spec = FIGURES[panel.figure]
    arguments = dict(panel.arguments)
    if spec.of_trial:
        trial = arguments.get("trial", trial)
        if trial is not None:
            arguments["trial"] = trial
            data = data.only([trial])
    else:
        numbers = chosen_trials(data.trials, only or {})
        data = data if numbers is None else data.only(numbers)
    return _drawn(panel.figure, RecordedTables(data), arguments)


def figure_beside(panel: Panel, studies: Sequence[StudyData]) -> go.Figure:
    """A figure of several studies beside each other."""
    beside = Beside(studies)
    return beside.name(_drawn(panel.figure, beside, dict(panel.arguments)))


def as_json(figure: go.Figure) -> bytes:
    """A figure as plotly.js takes it."""
    text: str = figure.to_json()
    return text.encode()


def _drawn(name: str, tables: Any, arguments: dict[str, Any]) -> go.Figure:
    title = str(arguments.get("title") or name.replace("_", " ").capitalize())
    for each in ("rate", "group", "value", "x", "y"):  # columns: `lr` is short for `params_lr`
        column = arguments.get(each)
        if isinstance(column, str) and column not in tables.trials:
            short = f"params_{column}"
            if short not in tables.trials:
                said = f"This study has no parameter or column {escaped(column, 40)}."
                return notice(escaped(title, 80), said)
            arguments[each] = short
    if "title" in arguments:
        arguments["title"] = escaped(arguments["title"], 100)
    try:
        return draw(name, tables, **arguments)
    except UserError as error:
        return notice(escaped(title, 80), escaped(one_line(error, 200), 200))
