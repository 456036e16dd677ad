"""The figures of a study by name: what each needs, and how to get it.

A page, a dashboard file and a notebook refer to a figure by its name. `draw` fetches the tables
that it needs from whatever has them, and no more than it draws.
"""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pandas as pd
import plotly.graph_objects as go

from lyapopt.errors import UserError
from lyapopt.figures.best_so_far import best_so_far
from lyapopt.figures.decisions_over_time import decisions_over_time
from lyapopt.figures.exponent_against_loss import exponent_against_loss, without_initial_loss
from lyapopt.figures.exponent_against_rate import exponent_against_rate
from lyapopt.figures.loss_trajectories import chosen as shown_in_lines
from lyapopt.figures.loss_trajectories import loss_trajectories
from lyapopt.figures.parameter_importances import parameter_importances
from lyapopt.figures.separations import separations
from lyapopt.figures.signal_correlations import SERIES as SIGNALS
from lyapopt.figures.signal_correlations import chosen as compared
from lyapopt.figures.signal_correlations import signal_correlations
from lyapopt.figures.spectrum_over_time import spectrum_over_time
from lyapopt.figures.steering_path import steered, steering_path
from lyapopt.figures.tables import activation_table
from lyapopt.figures.trainability_map import trainability_map
from lyapopt.figures.trial_losses import SERIES as LOSSES
from lyapopt.figures.trial_losses import trial_losses
from lyapopt.figures.trial_table import best_trial
from lyapopt.figures.weight_trajectories import weight_trajectories

TABLES: Final = ("trials", "exponents", "decisions", "trajectories", "spectrum")
"""Names of parameters that are tables; those of `trajectories` and `spectrum` are series."""

_STUDY_ARGUMENTS: Final = ("limits",)


class Tables(Protocol):
    """A study as tables, as `StudyData` has them; an empty table where there is none."""

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial."""

    @property
    def exponents(self) -> pd.DataFrame:
        """A row an exponent of a trial."""

    @property
    def decisions(self) -> pd.DataFrame:
        """A row a decision about a trial."""

    @property
    def limits(self) -> Mapping[str, float]:
        """Limits between the verdicts that the study was run with."""

    def series(self, names: Sequence[str], trials: Sequence[int]) -> pd.DataFrame:
        """Some series of some trials in the long form."""

    def series_names(self) -> Sequence[str]:
        """Names of the series that there are."""


@dataclass(frozen=True)
class FigureSpec:
    """One figure of a study.

    Attributes:
        name: Of the function in `lyapopt.figures`.
        function: Tables and arguments to a figure.
        series: Names of the series that it reads, of which it needs the first.
        choose: Of which trials, from the tables and the arguments.
        of_trial: Whether it shows one trial, which the argument `trial` names.
        is_there: Whether a study has what it cannot do without.
    """

    name: str
    function: Callable[..., go.Figure]
    series: tuple[str, ...] = ()
    choose: Callable[[Tables, Mapping[str, Any]], list[int]] | None = None
    of_trial: bool = False
    is_there: Callable[[Tables], bool] | None = None

    @property
    def tables(self) -> tuple[str, ...]:
        """Names of the tables that it takes."""
        return tuple(name for name in self._parameters if name in TABLES)

    @property
    def arguments(self) -> dict[str, Any]:
        """Its other arguments with their defaults."""
        found = self._parameters.items()
        return {name: each.default for name, each in found if name not in TABLES}

    @property
    def description(self) -> str:
        """What it shows, in a line."""
        return (self.function.__doc__ or "").strip().splitlines()[0]

    def can_draw(self, tables: Tables) -> bool:
        """Whether a study has what the figure is of."""
        if self.is_there is not None:
            return self.is_there(tables)
        needs_series = "trajectories" in self._required or "spectrum" in self._required
        return not needs_series or self.series[0] in tables.series_names()

    @property
    def _required(self) -> set[str]:
        """Names of the arguments that have no default."""
        found = self._parameters.items()
        return {name for name, each in found if each.default is inspect.Parameter.empty}

    @property
    def _parameters(self) -> Mapping[str, inspect.Parameter]:
        return inspect.signature(self.function).parameters


def draw(name: str, tables: Tables, /, **arguments: Any) -> go.Figure:
    """A figure of a study.

    Args:
        name: Of a figure in `FIGURES`.
        tables: The study.
        **arguments: Of the figure; a table that is given here is not fetched.

    Raises:
        UserError: If there is no such figure, or it has no such argument; the nearest is named.
    """
    spec = figure_spec(name)
    taken = inspect.signature(spec.function).parameters
    for each in arguments:
        if each not in taken:
            near = difflib.get_close_matches(each, list(taken), n=1)
            advice = f"; did you mean {near[0]!r}?" if near else f"; it has: {', '.join(taken)}"
            raise UserError(f"figure {name} has no argument {each!r}{advice}")
    given = dict(arguments)
    if spec.of_trial and given.get("trial") is None and not {*spec.tables} & {*given}:
        given["trial"] = next(iter(_choice(spec, tables, given)), None)
    for table in spec.tables:
        if table not in given:
            given[table] = _table(spec, table, tables, given)
    for each in _STUDY_ARGUMENTS:
        if each in taken and each not in given:
            given[each] = getattr(tables, each)
    return spec.function(**given)


def figure_spec(name: str) -> FigureSpec:
    """A figure by its name.

    Raises:
        UserError: If there is none; the nearest is named.

    Example:
        >>> figure_spec("separations").of_trial
        True
    """
    if name not in FIGURES:
        near = difflib.get_close_matches(name, list(FIGURES), n=1)
        advice = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(FIGURES)}"
        raise UserError(f"there is no figure {name!r}; {advice}")
    return FIGURES[name]


def _table(spec: FigureSpec, table: str, tables: Tables, given: Mapping[str, Any]) -> pd.DataFrame:
    if table in ("trajectories", "spectrum"):
        chosen = _choice(spec, tables, given)
        series = (given["series"],) if given.get("series") else spec.series
        return tables.series(series, chosen)
    found: pd.DataFrame = getattr(tables, table)
    return found


def _choice(spec: FigureSpec, tables: Tables, given: Mapping[str, Any]) -> list[int]:
    return [] if spec.choose is None else spec.choose(tables, given)


def _one(tables: Tables, given: Mapping[str, Any]) -> list[int]:
    """The trial that is asked for, or the best."""
    wanted = given.get("trial")
    found = best_trial(tables.trials) if wanted is None else int(wanted)
    return [] if found is None else [found]


def _one_steered(tables: Tables, given: Mapping[str, Any]) -> list[int]:
    """The trial that is asked for, or the best if it was steered, or the first that was."""
    if given.get("trial") is not None:
        return [int(given["trial"])]
    there = steered(tables.exponents)
    best = best_trial(tables.trials)
    return [best] if best in there and best is not None else there[:1]


def _shown(tables: Tables, given: Mapping[str, Any]) -> list[int]:
    return shown_in_lines(given.get("trials", tables.trials))


def _compared(tables: Tables, given: Mapping[str, Any]) -> list[int]:
    return compared(given.get("trials", tables.trials))


def _without_initial_loss(tables: Tables, given: Mapping[str, Any]) -> list[int]:
    return without_initial_loss(given.get("trials", tables.trials))


_SPECS: Final = (
    FigureSpec("exponent_against_rate", exponent_against_rate),
    FigureSpec(
        "exponent_against_loss", exponent_against_loss, ("loss",), _without_initial_loss
    ),
    FigureSpec("activation_table", activation_table),
    FigureSpec("trainability_map", trainability_map),
    FigureSpec("decisions_over_time", decisions_over_time),
    FigureSpec("best_so_far", best_so_far),
    FigureSpec("parameter_importances", parameter_importances),
    FigureSpec(
        "signal_correlations", signal_correlations, tuple(SIGNALS), _compared
    ),
    FigureSpec("loss_trajectories", loss_trajectories, ("loss",), _shown),
    FigureSpec("trial_losses", trial_losses, LOSSES, _one, of_trial=True),
    FigureSpec("separations", separations, ("separation",), _one, of_trial=True),
    FigureSpec(
        "weight_trajectories", weight_trajectories, ("weights", "separation", "neighbours"),
        _one, of_trial=True,
    ),
    FigureSpec(
        "steering_path", steering_path, (), _one_steered, of_trial=True,
        is_there=lambda tables: bool(steered(tables.exponents)),
    ),
    FigureSpec("spectrum_over_time", spectrum_over_time, ("spectrum",), _one, of_trial=True),
)  # fmt: skip

FIGURES: Final[Mapping[str, FigureSpec]] = {spec.name: spec for spec in _SPECS}
"""The figures of a study, in the order in which a page shows them."""
