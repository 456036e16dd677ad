"""How a learning rate was found: the rates that were tried, and what came of each."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from lyapopt.figures.axes import log_axis, rounded, symlog, symlog_axis
from lyapopt.figures.bands import add_bands
from lyapopt.figures.text import escaped, name_of, shown_interval
from lyapopt.figures.theme import COLOURS, INK, VERDICTS, interval_bars, notice, styled
from lyapopt.figures.trial_table import numbers, texts

_TITLE = "Steering: the probes along the exponent curve"
_PROBE = "steering "
_NUMBERS = ("rate", "exponent", "low", "high", "fall", "round")

Place = dict[str, int]
"""Row and column of a panel."""


@dataclass(frozen=True)
class SteeringPath:
    """The numbers of the figure.

    Attributes:
        probes: A row a probe, by rate: `rate`, `exponent`, `low`, `high` (nats per step, NaN where
            there is none), `fall` (of the loss, as a share of the first one; NaN where it is not
            known), `verdict`, `round` (1 for the first; NaN where it is not known).
        target: The exponent that was aimed at, nats per step; NaN where it is not known.
        chosen: The rate that was chosen; NaN where it is not known.
        bracket: The last rate below the target and the first at or above it; `None` where the
            target was not crossed.
        name: Of the steered parameter.
        trial: Number of the trial; `None` where there is none.
    """

    probes: pd.DataFrame
    target: float
    chosen: float
    bracket: tuple[float, float] | None
    name: str
    trial: int | None = None


def collect(
    probes: pd.DataFrame,
    *,
    target: float | None = None,
    chosen: float | None = None,
    name: str | None = None,
    trial: int | None = None,
) -> SteeringPath | None:
    """The probes of one trial; `None` where nothing was steered.

    Args:
        probes: A row a probe, with `rate` and `exponent`, and where there are any `low`, `high`,
            `fall`, `verdict`, `round` (`Steering.table`); or a row an exponent
            (`StudyData.exponents`).
        target, chosen, name: As in `SteeringPath`, where the table does not say.
        trial: Number of the trial, in a table of several; by default the first that was steered.
    """
    if "rate" not in probes:
        number, probes, known = _of_study(probes, trial)
        target = known.get("target") if target is None else target
        chosen = known.get("chosen") if chosen is None else chosen
        name, trial = name or known.get("name"), number
    if probes.empty:
        return None
    found = pd.DataFrame({each: numbers(probes, each) for each in _NUMBERS})
    found["verdict"] = texts(probes, "verdict")
    found = found[found["rate"] > 0].sort_values("rate", ignore_index=True)
    goal = math.nan if target is None else float(target)
    return SteeringPath(
        found, goal, math.nan if chosen is None else float(chosen), _bracket(found, goal),
        name or "lr", trial,
    )  # fmt: skip


def draw(
    path: SteeringPath, limits: Mapping[str, float] | None = None, title: str = _TITLE
) -> go.Figure:
    """The curve through the probes, numbered by their rounds, the target and the chosen rate.

    Below it the fall of the loss, where that is known; alone, where no exponent was measured.

    Args:
        path: What `collect` gives.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        title: Title of the figure; the trial is added.
    """
    probes = path.probes
    panels = [
        panel
        for panel, column in ((_draw_exponents, "exponent"), (_draw_falls, "fall"))
        if probes[column].notna().any()
    ] or [_draw_exponents]
    figure = make_subplots(rows=len(panels), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, panel in enumerate(panels, 1):
        panel(figure, path, {"row": row, "col": 1}, limits)
    figure.update_xaxes(**log_axis([*probes["rate"], path.chosen]))
    figure.update_xaxes(title_text=name_of(path.name), row=len(panels), col=1)
    return styled(figure, title if path.trial is None else f"{title}: trial {path.trial}",
                  height=440 if len(panels) == 1 else 600)  # fmt: skip


def _draw_exponents(
    figure: go.Figure, path: SteeringPath, place: Place, limits: Mapping[str, float] | None
) -> None:
    probes = path.probes
    axis = symlog_axis(*(probes[each] for each in ("exponent", "low", "high")), [path.target])
    low, high = axis["range"] = [axis["range"][0], axis["range"][1] + 0.4]
    _add_probes(figure, probes, high, place)
    if path.bracket is not None:
        figure.add_vrect(
            x0=path.bracket[0], x1=path.bracket[1], fillcolor="rgba(128,128,128,.1)", line_width=0,
            layer="below", **place,
        )  # fmt: skip
    ends = [float(probes["rate"].min()), float(probes["rate"].max())]
    if not math.isnan(path.target):
        _add_line(figure, ends, [float(symlog(path.target))] * 2, "dot",
                  f"target {path.target:.3g} nats per step", place)  # fmt: skip
    _add_choice(figure, path, low, high, place)
    add_bands(figure, limits, span=(low, high), row=place["row"], col=place["col"])
    figure.update_yaxes(title_text="exponent (nats per step)", **axis, **place)


def _draw_falls(
    figure: go.Figure, path: SteeringPath, place: Place, limits: Mapping[str, float] | None
) -> None:
    """How far the loss fell, as a share of the first one; what rose by more than that is at -1."""
    known = path.probes[path.probes["fall"].notna()]
    fall = known["fall"].clip(-1.0, 1.0)
    figure.add_scatter(
        x=rounded(known["rate"]),
        y=rounded(fall),
        hovertext=[_said(row, f"loss fell by {row.fall:.3g}") for row in known.itertuples()],
        hoverinfo="text",
        mode="lines+markers",
        line={"color": INK, "width": 1},
        marker=_marker(known),
        name="fall of the loss",
        **place,
    )
    low, high = float(min(fall.min(), 0.0)) - 0.05, float(max(fall.max(), 0.1)) + 0.05
    _add_choice(figure, path, low, high, place, is_first=not path.probes["exponent"].notna().any())
    figure.update_yaxes(title_text="fall of the loss", range=[low, high], **place)


def steering_path(
    exponents: pd.DataFrame,
    *,
    trial: int | None = None,
    target: float | None = None,
    chosen: float | None = None,
    name: str | None = None,
    limits: Mapping[str, float] | None = None,
    title: str = _TITLE,
) -> go.Figure:
    """The bisection on the exponent curve: probes by round, the bracket, target and chosen rate.

    Args:
        exponents: Probes with `rate` and `exponent`, or all exponents of a study; see `collect`.
        trial, target, chosen, name: See `collect`.
        limits: Between the verdicts, see `lyapopt.figures.bands.verdict_bands`.
        title: Title of the figure; the trial is added.

    Example:
        >>> curve = pd.DataFrame({"rate": [0.1, 1.0], "exponent": [-0.01, 0.2]})
        >>> collect(curve, target=0.05).bracket
        (0.1, 1.0)
        >>> steering_path(curve, target=0.05, chosen=0.1).data[-1].x
        (0.1, 0.1)
    """
    path = collect(exponents, trial=trial, target=target, chosen=chosen, name=name)
    if path is None:
        whose = "No trial was steered" if trial is None else f"Trial {trial} was not steered"
        return notice(title, f"{whose}: the sampler edge-of-chaos does that.")
    return draw(path, limits, title)


def steered(exponents: pd.DataFrame) -> list[int]:
    """Numbers of the trials that were steered.

    Args:
        exponents: A row an exponent, as `StudyData.exponents` has them.
    """
    if exponents.empty:
        return []
    rows = exponents[exponents["name"].str.startswith(_PROBE)]
    return [int(number) for number in rows["trial_number"].unique()]


def _of_study(
    exponents: pd.DataFrame, trial: int | None
) -> tuple[int | None, pd.DataFrame, dict[str, Any]]:
    """The probes of one trial among the exponents of a study, and what they say besides."""
    there = steered(exponents)
    trial = there[0] if trial is None and there else trial
    if trial not in there:
        return trial, pd.DataFrame(), {}
    rows = exponents[exponents["trial_number"] == trial]
    rows = rows[rows["name"].str.startswith(_PROBE)]
    details = [each if isinstance(each, Mapping) else {} for each in rows["details"]]
    probes = pd.DataFrame(
        {
            "rate": [each.get("rate") for each in details],
            "exponent": rows["value"].to_numpy(),
            "verdict": [each.get("verdict", "") for each in details],
            "round": [each.get("round") for each in details],
        }
    )
    known = {"target": details[0].get("target"), "name": rows["name"].iloc[0][len(_PROBE) :]}
    known["name"] = known["name"].rsplit("=", 1)[0]
    rates = [each.get("rate") for each in details if each.get("is chosen")]
    return trial, probes, {**known, **({"chosen": rates[0]} if rates else {})}


def _bracket(probes: pd.DataFrame, target: float) -> tuple[float, float] | None:
    """The first pair of neighbouring rates between which the exponent rises to the target."""
    hot = (probes["exponent"] >= target) | probes["verdict"].isin(["diverged", "hot"])
    if math.isnan(target) or not hot.any() or hot.iloc[0]:
        return None
    first = int(hot.to_numpy().argmax())
    return float(probes["rate"].iloc[first - 1]), float(probes["rate"].iloc[first])


def _add_probes(figure: go.Figure, probes: pd.DataFrame, top: float, place: Place) -> None:
    known = probes[~np.isnan(probes["exponent"])]
    blown = probes[np.isnan(probes["exponent"])]
    centre, low, high = (symlog(known[each]) for each in ("exponent", "low", "high"))
    has_rounds = known["round"].notna()
    figure.add_scatter(
        x=rounded(known["rate"]),
        y=rounded(centre),
        error_y=interval_bars(centre, low, high),
        text=[f"{each:.0f}" if there else "" for each, there in
              zip(known["round"], has_rounds, strict=True)],
        textposition="top center",
        textfont={"color": INK},
        hovertext=[_said(row, _exponent_of(row)) for row in known.itertuples()],
        hoverinfo="text",
        mode="lines+markers+text",
        line={"color": INK, "width": 1},
        marker=_marker(known),
        name="probes, numbered by round" if has_rounds.any() else "probes",
        **place,
    )  # fmt: skip
    if len(blown):
        figure.add_scatter(
            x=rounded(blown["rate"]),
            y=[top - 0.2] * len(blown),
            hovertext=[_said(row, "") for row in blown.itertuples()],
            hoverinfo="text",
            mode="markers",
            marker={"color": VERDICTS["diverged"], "symbol": "x-thin-open", "size": 9},
            name="diverged",
            **place,
        )


def _marker(probes: pd.DataFrame) -> dict[str, Any]:
    return {"color": [VERDICTS.get(each, COLOURS[0]) for each in probes["verdict"]], "size": 10}


def _exponent_of(row: Any) -> str:
    return f"exponent {shown_interval(row.exponent, row.low, row.high)}"


def _said(row: Any, what: str) -> str:
    what = ", ".join(each for each in (what, row.verdict) if each)
    in_round = "" if math.isnan(row.round) else f"<br>round {row.round:.0f}"
    return f"rate {row.rate:.4g}: {escaped(what)}{in_round}"


def _add_choice(
    figure: go.Figure,
    path: SteeringPath,
    low: float,
    high: float,
    place: Place,
    is_first: bool = True,
) -> None:
    if not math.isnan(path.chosen):
        name = f"chosen: {path.chosen:.3g}"
        _add_line(figure, [path.chosen] * 2, [low, high], "dash", name, place, is_first)


def _add_line(
    figure: go.Figure,
    x: list[float],
    y: list[float],
    dash: str,
    name: str,
    place: Place,
    is_first: bool = True,
) -> None:
    # A trace and not a line of the layout, whose label sits elsewhere on a logarithmic axis.
    figure.add_scatter(
        x=rounded(x), y=rounded(y), mode="lines", name=name, hoverinfo="name", showlegend=is_first,
        line={"color": COLOURS[1] if dash == "dash" else INK, "dash": dash, "width": 2}, **place,
    )  # fmt: skip
