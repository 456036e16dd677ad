"""Several studies as one: their trials in one table, told apart by the study's name."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Final

import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.text import escaped
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.figures import RecordedTables

PLACE: Final = 10**8
"""What the numbers of the second study's trials begin with, and twice that those of the third; the
page takes them apart again (`static/main.js`). No study has so many trials."""

_HEAD: Final = re.compile(r"<b>trial (\d+)</b>")


class Beside:
    """Studies beside each other, as the tables that figures are drawn from.

    Numbers of trials say of which study they are (`PLACE`), so that a page knows what was clicked.
    Figures of one trial are not drawn from this. Where a figure tells groups apart, name the column
    `study_name`.

    Args:
        studies: Which.
    """

    def __init__(self, studies: Sequence[StudyData]) -> None:
        self._studies = [RecordedTables(each) for each in studies]
        self._names = [escaped(each.name, 40) for each in studies]

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row a trial."""
        own = [each.trials for each in self._studies]
        parts = [
            each.assign(trial_number=each["trial_number"] + place * PLACE) if len(each) else each
            for place, each in enumerate(own)
        ]
        whole = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
        directions = {tuple(each.attrs.get("directions", ())) for each in own}
        if len(directions) == 1:
            whole.attrs["directions"] = directions.pop()
        return whole

    @property
    def exponents(self) -> pd.DataFrame:
        """A row an exponent of a trial."""
        return pd.DataFrame()

    @property
    def decisions(self) -> pd.DataFrame:
        """A row a decision about a trial."""
        return pd.DataFrame()

    @property
    def limits(self) -> Mapping[str, float]:
        """Limits between the verdicts, if they are the same in all studies."""
        found = [dict(each.limits) for each in self._studies]
        return found[0] if found and all(each == found[0] for each in found) else {}

    def name(self, figure: go.Figure) -> go.Figure:
        """Say under the mouse which trial of which study a point is, instead of its number here."""

        def trial(head: re.Match[str]) -> str:
            place, number = divmod(int(head[1]), PLACE)
            return f"<b>trial {number} of {self._names[place]}</b>"

        for trace in figure.data:
            texts = getattr(trace, "hovertext", None)
            if isinstance(texts, Sequence) and not isinstance(texts, str):
                trace.hovertext = [_HEAD.sub(trial, str(text), count=1) for text in texts]
        return figure

    def series(self, names: Sequence[str], trials: Sequence[int]) -> pd.DataFrame:
        """No series: numbers of trials do not say of which study they are."""
        return pd.DataFrame(columns=["trial_number", "name", "step", "component", "value"])

    def series_names(self) -> Sequence[str]:
        """No names."""
        return []
