"""Several studies as one: their trials in one table, told apart by the study's name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.figures import RecordedTables


class Beside:
    """Studies beside each other, as the tables that figures are drawn from.

    Trials keep their numbers, which may be there several times: so figures of one trial are not
    drawn from this. Where a figure tells groups apart, name the column `study_name`.

    Args:
        studies: Which.
    """

    def __init__(self, studies: Sequence[StudyData]) -> None:
        self._studies = [RecordedTables(each) for each in studies]

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial."""
        parts = [each.trials for each in self._studies]
        whole = pd.concat([part for part in parts if len(part)] or parts, ignore_index=True)
        directions = {tuple(part.attrs.get("directions", ())) for part in parts}
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

    def series(self, names: Sequence[str], trials: Sequence[int]) -> pd.DataFrame:
        """No series: numbers of trials do not say of which study they are."""
        return pd.DataFrame(columns=["trial_number", "name", "step", "component", "value"])

    def series_names(self) -> Sequence[str]:
        """No names."""
        return []
