"""What early signals are worth: numbers, and a page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lyapopt.bench.pages import plain_rows
from lyapopt.figures import number_table, signal_against_cost
from lyapopt.figures.page import Section, page

SCORES = {
    "spearman": "rank correlation with the final validation loss",
    "auc_above": "AUC for: rate above the best one of its line",
    "auc_diverges": "AUC for: diverges later",
    "gain": "gain of rank correlation over parameters and early loss",
}


@dataclass(frozen=True)
class SignalReport:
    """The numbers.

    Attributes:
        scores: A row a case, signal and length, see `signal_scores.score_table`.
    """

    scores: pd.DataFrame

    @property
    def means(self) -> pd.DataFrame:
        """Means over cases of every signal and length, and in how many cases the gain's interval
        lies above zero.
        """
        grouped = self.scores.groupby(["signal", "order"], sort=False)
        found = grouped[["cost", *SCORES]].mean().reset_index()
        above = self.scores["gain_low"] > 0
        counts = above.groupby([self.scores["signal"], self.scores["order"]], sort=False).sum()
        found["cases with gain"] = counts.to_numpy()
        return found.rename(columns={"order": "steps"})

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"means": plain_rows(self.means), "scores": plain_rows(self.scores)}

    def as_page(self, command: str) -> str:
        """A page of figures."""
        sections = [
            Section(title, [], [signal_against_cost(self.scores, score, title)])
            for score, title in SCORES.items()
        ]
        sections.append(Section("Means over cases", [_NOTE], [number_table(self.means)]))
        for name, part in self._by_case():
            sections.append(Section(name, [], [number_table(part)]))
        return page("lyapopt bench signal", command, sections)

    def _by_case(self) -> Sequence[tuple[str, pd.DataFrame]]:
        columns = ["signal", "order", "cost"]
        for score in SCORES:
            columns += [score, f"{score}_low", f"{score}_high"]
        return [
            (str(name), part[columns]) for name, part in self.scores.groupby("case", sort=False)
        ]


_NOTE = (
    "Signals that begin with placebo tell nothing of the network in question: what they score, the "
    "grid of rates alone scores."
)
