"""What pairs of studies say: losses of equally many gradients, gradients of as many trials."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from lyapopt.bench import Numbers
from lyapopt.bench.pages import plain_rows
from lyapopt.bench.studies.problems import LENGTHS
from lyapopt.bench.studies.runs import OURS, PLAIN

SOLVED = 1e-8
"""Loss below which a problem is solved: what is lower still is equal to it."""
NOTHING = 1e8
"""Loss of a study in which no training was completed."""
_LEVEL = 0.05


@dataclass(frozen=True)
class StudyReport:
    """The numbers of a comparison.

    Attributes:
        rows: What `StudyArchive.results` gives.
    """

    rows: pd.DataFrame

    @property
    def losses(self) -> pd.DataFrame:
        """One row a problem and budget: losses of ours and theirs, paired by seed.

        `ratio` is the median of ours divided by theirs, `p` that of Wilcoxon's signed rank test of
        the logarithms.
        """
        lengths = [length.name for length in LENGTHS if length.trainings is not None]
        found = []
        for (problem, length), part in self._pairs(lengths):
            ours, theirs = (_losses(part["value"][name]) for name in (OURS, PLAIN))
            gap = np.log(ours / theirs)
            found.append(
                {
                    "problem": problem,
                    "length": length,
                    "auto": float(np.median(ours)),
                    "TPE + Median": float(np.median(theirs)),
                    "ratio": float(np.exp(np.median(gap))),
                    "wins": int((gap < 0).sum()),
                    "losses": int((gap > 0).sum()),
                    "ties": int((gap == 0).sum()),
                    "p": _p(gap),
                    "verdict": _verdict(gap),
                }
            )
        return pd.DataFrame(found)

    @property
    def saved(self) -> pd.DataFrame:
        """One row a problem: gradients of as many trials, probes included, as shares of theirs."""
        lengths = [length.name for length in LENGTHS if length.trials is not None]
        found = []
        for (problem, length), part in self._pairs(lengths):
            share = (1 - part["spent"][OURS] / part["spent"][PLAIN]).to_numpy(dtype=np.float64)
            gap = np.log(_losses(part["value"][OURS]) / _losses(part["value"][PLAIN]))
            found.append(
                {
                    "problem": problem,
                    "length": length,
                    "saved, median": float(np.median(share)),
                    "least": float(share.min()),
                    "most": float(share.max()),
                    "ratio of losses": float(np.exp(np.median(gap))),
                    "p": _p(gap),
                    "verdict": _verdict(gap),
                }
            )
        return pd.DataFrame(found)

    @property
    def holds(self) -> bool:
        """Whether ours is nowhere worse with equal gradients, and better in most rows."""
        verdicts = self.losses["verdict"]
        return not (verdicts == "worse").any() and bool((verdicts == "better").mean() > 0.5)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        tables = {"losses": self.losses, "saved": self.saved, "rows": self.rows}
        return {name: plain_rows(table) for name, table in tables.items()} | {"holds": self.holds}

    def _pairs(self, lengths: list[str]) -> list[tuple[tuple[str, str], pd.DataFrame]]:
        """Columns `(value | spent, method)` by seed, for every problem and length."""
        chosen = self.rows[self.rows["length"].isin(lengths)]
        groups = chosen.groupby(["length", "problem"], sort=False)
        return [
            (
                (str(problem), str(length)),
                part.pivot_table(index="seed", columns="method", values=["value", "spent"]),
            )
            for (length, problem), part in groups
        ]


def _losses(values: pd.Series) -> Numbers:
    found: Numbers = np.clip(values.to_numpy(dtype=np.float64), SOLVED, NOTHING)
    return found


def _p(gap: Numbers) -> float:
    return float(wilcoxon(gap).pvalue) if np.any(gap) else 1.0


def _verdict(gap: Numbers) -> str:
    """`better`, `worse` or `alike`, by the test; the median rank says which side it is."""
    if _p(gap) >= _LEVEL:
        return "alike"
    return "better" if wilcoxon(gap, alternative="less").pvalue < _LEVEL else "worse"
