"""What a comparison of finders says."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import wilcoxon

from lyapopt.bench.pages import plain_rows
from lyapopt.bench.rates.finders import OURS

_BAD = 0.2


@dataclass(frozen=True)
class RateReport:
    """The numbers of a comparison, from what `compare_finders` gives.

    Attributes:
        rows: One row a line and method.
    """

    rows: pd.DataFrame

    @property
    def summary(self) -> pd.DataFrame:
        """One row a method: median and mean regret, share of bad lines, mean cost.

        And ours paired with it, line by line: on how many lines either ends lower, and the p of
        Wilcoxon's test.
        """
        wide = self.rows.pivot_table(index=["case", "line"], columns="method", values="regret")
        cost = self.rows.groupby("method")["cost"].mean()
        found = []
        for name in wide.columns:
            regret = wide[name]
            gap = (wide[OURS] - regret).to_numpy()
            row = {
                "method": name,
                "median regret": float(regret.median()),
                "mean regret": float(regret.mean()),
                f"regret above {_BAD}": float((regret > _BAD).mean()),
                "gradients": float(cost[name]),
                "lines": len(regret),
                "ours lower": int((gap < 0).sum()),
                "ours higher": int((gap > 0).sum()),
                "p": float(wilcoxon(gap).pvalue) if np.any(gap) else float("nan"),
            }
            found.append(row)
        return pd.DataFrame(found).sort_values("median regret", ignore_index=True)

    @property
    def by_case(self) -> pd.DataFrame:
        """Median regret of every method on every case."""
        medians = self.rows.pivot_table(
            index="method", columns="case", values="regret", aggfunc="median"
        )
        return medians.loc[self.summary["method"]].reset_index()

    def as_dict(self) -> dict[str, object]:
        """Plain data for JSON."""
        tables = {"summary": self.summary, "by_case": self.by_case, "rows": self.rows}
        return {name: plain_rows(table) for name, table in tables.items()}
