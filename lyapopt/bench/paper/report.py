"""The paper's figures beside ours, and the map of where its claims hold."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.bench import Progress, silent
from lyapopt.bench.pages import plain_rows
from lyapopt.bench.paper.claims import CLAIMS, claim_map, shares
from lyapopt.bench.paper.settings import (
    ACTIVATIONS,
    NEAREST,
    PAPER,
    Settings,
    at_setting,
    swept,
    trained,
    trained_nearest,
)
from lyapopt.figures import activation_table, exponent_against_loss, exponent_curves, number_table
from lyapopt.figures import claim_map as draw_map
from lyapopt.figures.page import Section, page
from lyapopt.figures.tables import collect_activations

_DOWN, _ACROSS = ["init", "output", "width"], ["lr", "horizon", "steps"]


@dataclass(frozen=True)
class PaperReport:
    """The numbers.

    Attributes:
        trained: Every network that was trained, see `paper.trained`.
        swept: Every exponent of the sweep over rates, see `paper.swept`.
        claims: A row a claim and setting.
        nearest: Many networks at the setting that comes nearest to the paper's.
    """

    trained: pd.DataFrame
    swept: pd.DataFrame
    claims: pd.DataFrame
    nearest: pd.DataFrame

    @property
    def table_1(self) -> pd.DataFrame:
        """Table 1 at the setting that comes nearest to it."""
        finite = self.nearest.replace([np.inf, -np.inf], np.nan)
        pairs = finite.dropna(subset=["exponent", "loss"])
        rows = collect_activations(pairs, PAPER, "activation")
        return rows.rename(columns={"trials": "networks"})

    @property
    def shares(self) -> pd.DataFrame:
        """At how many settings each claim holds."""
        return shares(self.claims)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "shares": plain_rows(self.shares),
            "table 1": plain_rows(self.table_1),
            "claims": plain_rows(self.claims),
        }

    def figures(self) -> dict[str, go.Figure]:
        """The paper's figures and the maps, by name."""
        sweep = at_setting(self.swept, {n: v for n, v in NEAREST.items() if n != "lr"})
        networks = self.nearest
        found = {
            "fig4": exponent_curves(sweep, "lr", "activation"),
            "table1": activation_table(networks, PAPER, "activation"),
        }
        for activation in ACTIVATIONS:
            chosen = networks[networks["activation"] == activation]
            found[f"fig5 {activation}"] = exponent_against_loss(chosen, activation)
        for claim, what in CLAIMS.items():
            rows = self.claims[self.claims["claim"] == claim]
            across = [name for name in _ACROSS if rows[name].notna().all()]
            across += ["activation"] if rows["activation"].notna().all() else []
            found[f"map {claim}"] = draw_map(rows, _DOWN, across or ["claim"], what)
        return found

    def as_page(self, command: str) -> str:
        """A page of figures."""
        figures = self.figures()
        where = ", ".join(f"{name} {value}" for name, value in NEAREST.items())
        maps = [figure for name, figure in figures.items() if name.startswith("map")]
        sections = [
            Section("Where the claims hold", [_HOW], [number_table(self.shares)]),
            Section("Fig. 4: exponent against rate", [f"At {where}."], [figures["fig4"]]),
            Section("Table 1: activations", [f"At {where}."], [figures["table1"]]),
            Section(
                "Fig. 5: exponent against final loss",
                [f"At {where}."],
                [figures[f"fig5 {activation}"] for activation in ACTIVATIONS],
            ),
            Section("Maps", ["Green: holds. Red: fails. Grey: the interval allows both."], maps),
        ]
        return page("lyapopt bench paper", command, sections)


_HOW = (
    "Claims of T. Mitra, arXiv:2410.05988, on exclusive or. A claim holds at a setting where the "
    "95 % interval of its estimate over networks lies on the right side of the null, fails where "
    "it lies on the other, and is open where the null is inside."
)


def measure_paper(settings: Settings, progress: Progress = silent) -> PaperReport:
    """Train all networks of all settings, and judge the claims."""
    networks, sweep = trained(settings, progress), swept(settings, progress)
    nearest = trained_nearest(settings, progress)
    return PaperReport(networks, sweep, claim_map(networks, sweep), nearest)
