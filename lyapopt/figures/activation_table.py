"""Exponent and final loss of each activation, beside what was published (Mitra 2024, Table 1)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from lyapopt.figures.number_table import number_table


def collect(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str = "params_activation",
) -> pd.DataFrame:
    """Rows of the table: means over networks with 95 % intervals.

    Args:
        trials: Columns `group`, `exponent` and `loss`, a row a network.
        published: Exponent and loss of each activation as somebody else has them.
        group: Column of the activation.
    """
    rows = []
    known = trials.replace([np.inf, -np.inf], np.nan).dropna(subset=["exponent", "loss"])
    for name, part in known.groupby(group, sort=False):
        row: dict[str, object] = {"activation": name, "networks": len(part)}
        for column in ("exponent", "loss"):
            values = part[column].to_numpy(dtype=np.float64)
            mean = float(values.mean())
            half = 1.96 * float(values.std(ddof=1)) / len(values) ** 0.5
            row |= {column: mean, f"{column} low": mean - half, f"{column} high": mean + half}
        if published is not None:
            exponent, loss = published.get(str(name), (np.nan, np.nan))
            row |= {"published exponent": exponent, "published loss": loss}
        rows.append(row)
    return pd.DataFrame(rows)


def activation_table(
    trials: pd.DataFrame,
    published: Mapping[str, tuple[float, float]] | None = None,
    group: str = "params_activation",
) -> go.Figure:
    """Exponent and final loss of each activation; see `collect`.

    Example:
        >>> made = {"params_activation": "relu", "exponent": [0.1, 0.3], "loss": [1.0, 2.0]}
        >>> float(collect(pd.DataFrame(made))["loss"].iloc[0])
        1.5
    """
    return number_table(collect(trials, published, group))
