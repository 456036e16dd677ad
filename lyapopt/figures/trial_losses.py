"""What one trial was seen to lose while it trained, and what was decided of it on the way."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import Floats, LossScale, rounded
from lyapopt.figures.series import medians, named
from lyapopt.figures.text import escaped
from lyapopt.figures.theme import COLOURS, INK, VERDICTS, notice, remark, styled

SERIES = ("loss", "validation_loss")

_TITLE = "Loss"
_NAMES = {"loss": "training loss", "validation_loss": "validation loss"}
_MOST_POINTS = 600


@dataclass(frozen=True)
class TrialLosses:
    """The numbers of the figure.

    Attributes:
        trial: Its number; `None` where there is none.
        lines: Steps and losses of each series that there is; NaN where there is no number.
        decisions: Steps of the decisions that ended it, each with its rule.
    """

    trial: int | None
    lines: dict[str, tuple[NDArray[np.int64], Floats]]
    decisions: tuple[tuple[int, str], ...]


def collect(
    trajectories: pd.DataFrame, decisions: pd.DataFrame | None = None, *, trial: int | None = None
) -> TrialLosses | None:
    """The losses of one trial; `None` where there are none.

    Args:
        trajectories: Series in the long form; `loss` and `validation_loss` are read.
        decisions: A row a decision: `trial_number`, `rule`, `pruned`, `step`.
        trial: Number of the trial; by default the first that there is.
    """
    lines: dict[str, tuple[NDArray[np.int64], Floats]] = {}
    for name in SERIES:
        rows = named(trajectories, name)
        if "name" not in trajectories and name != SERIES[0]:
            continue
        if "trial_number" in rows and len(rows):
            trial = int(rows["trial_number"].iloc[0]) if trial is None else trial
            rows = rows[rows["trial_number"] == trial]
        if len(rows):
            ordered = rows.sort_values("step", kind="stable")
            losses = ordered["value"].to_numpy(dtype=np.float64)
            lines[name] = (ordered["step"].to_numpy(dtype=np.int64), losses)
    return TrialLosses(trial, lines, _ends(decisions, trial)) if lines else None


def draw(found: TrialLosses, title: str = _TITLE) -> go.Figure:
    """A line a series, and where the trial was pruned.

    Args:
        found: What `collect` gives.
        title: Title of the figure; the trial is added.
    """
    figure = go.Figure()
    every = np.concatenate([losses for _, losses in found.lines.values()])
    # A training that succeeds can fall by thirty decades: its median says nothing of its start.
    scale = LossScale.of(every, start=_first_finite(every))
    longest = 0
    for place, (name, (steps, losses)) in enumerate(found.lines.items()):
        longest = max(longest, len(steps))
        shown, values = medians(steps, losses, _MOST_POINTS)
        figure.add_scatter(
            x=shown.tolist(),
            y=rounded(scale.clipped(values)),
            customdata=rounded(np.where(np.isinf(values), np.nan, values)),
            hovertemplate=f"step %{{x}}: {_NAMES[name]} %{{customdata:.4g}}<extra></extra>",
            mode="lines" if len(shown) > 40 else "lines+markers",
            line={"color": COLOURS[place], "width": 2 if place else 1.4},
            name=_NAMES[name],
        )
    for step, rule in found.decisions:
        figure.add_scatter(
            x=[step, step],
            y=[scale.low, scale.high],
            mode="lines",
            line={"color": VERDICTS["diverged"], "dash": "dash", "width": 1.5},
            name=f"pruned by {escaped(rule, 30)}",
            hoverinfo="name",
        )
    blown = [_first_not_finite(steps, losses) for steps, losses in found.lines.values()]
    if any(step is not None for step in blown):
        first = min(step for step in blown if step is not None)
        remark(figure, f"not finite from step {first}")
    if scale.kind == "log" and (scale.is_outside(every[every > 0]) < 0).any():
        remark(figure, f"below {scale.low:.2g} drawn at the edge")
    if longest > _MOST_POINTS:
        remark(figure, f"medians of {math.ceil(longest / _MOST_POINTS)} steps")
    figure.update_xaxes(title="step")
    figure.update_yaxes(**scale.axis(title="loss"))
    figure.update_layout(legend_font_color=INK)
    return styled(figure, title if found.trial is None else f"{title}: trial {found.trial}",
                  height=380)  # fmt: skip


def trial_losses(
    trajectories: pd.DataFrame,
    decisions: pd.DataFrame | None = None,
    *,
    trial: int | None = None,
    title: str = _TITLE,
) -> go.Figure:
    """Training and validation loss of one trial, and where it was pruned.

    Args:
        trajectories, decisions, trial: See `collect`.
        title: Title of the figure; the trial is added.

    Example:
        >>> falling = pd.DataFrame({"step": [0, 1], "value": [1.0, 0.5]})
        >>> trial_losses(falling).data[0].y
        (1.0, 0.5)
    """
    found = collect(trajectories, decisions, trial=trial)
    if found is None:
        whose = "" if trial is None else f" of trial {trial}"
        return notice(title, f"No loss{whose} was recorded step by step.")
    return draw(found, title)


def _ends(decisions: pd.DataFrame | None, trial: int | None) -> tuple[tuple[int, str], ...]:
    if decisions is None or decisions.empty:
        return ()
    rows = decisions
    if trial is not None and "trial_number" in rows:
        rows = rows[rows["trial_number"] == trial]
    rows = rows[rows["pruned"].astype(bool) & rows["step"].notna()]
    pairs = zip(rows["step"].tolist(), rows["rule"].tolist(), strict=True)
    return tuple((int(step), str(rule)) for step, rule in pairs)


def _first_finite(losses: Floats) -> float:
    known = losses[np.isfinite(losses)]
    return float(known[0]) if len(known) else 0.0


def _first_not_finite(steps: NDArray[np.int64], losses: Floats) -> int | None:
    bad = np.flatnonzero(~np.isfinite(losses))
    return int(steps[bad[0]]) if len(bad) else None
