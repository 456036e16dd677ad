"""The figures of one study: `lyapopt.figures`, given the study's own tables."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go

_TABLES: Final = ("trials", "runs", "exponents", "decisions", "trajectories")


class StudyTables(Protocol):
    """A study as tables, as `StudyData` has them."""

    @property
    def trials(self) -> pd.DataFrame:
        """One row for each trial."""

    @property
    def runs(self) -> pd.DataFrame:
        """One row for each recorded trial."""

    @property
    def exponents(self) -> pd.DataFrame:
        """One row for each exponent of each trial."""

    @property
    def decisions(self) -> pd.DataFrame:
        """One row for each decision about each trial."""

    def trajectories(self) -> pd.DataFrame:
        """All series in the long form."""


class StudyFigures:
    """Every function of `lyapopt.figures` as a method that needs no tables.

    A figure's parameters that are named like a table (`trials`, `runs`, `exponents`, `decisions`,
    `trajectories`) are given that table of the study, read when it is needed; the others are the
    caller's.

    Args:
        tables: The study.

    Example:
        >>> import lyapopt, optuna, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> url = f"sqlite:///{folder.name}/study.db"
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(storage=url)
        >>> def objective(trial):
        ...     trial.set_user_attr("exponent", 0.01)
        ...     trial.suggest_categorical("activation", ["relu"])
        ...     return trial.suggest_float("lr", 0.1, 1.0, log=True)
        >>> study.optimize(objective, n_trials=3)
        >>> figures = lyapopt.load(url).figures
        >>> "exponent_against_rate" in dir(figures)
        True
        >>> figures.exponent_against_rate(value="the rate itself").data[0].name
        'relu'
        >>> folder.cleanup()
    """

    def __init__(self, tables: StudyTables) -> None:
        self._tables = tables

    def __getattr__(self, name: str) -> Callable[..., go.Figure]:
        from lyapopt import figures  # here: plotly takes long to import, and tables need none

        if name not in figures.__all__:
            near = difflib.get_close_matches(name, figures.__all__, n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"there is no figure {name!r}{advice}")
        figure: Callable[..., go.Figure] = getattr(figures, name)
        tables = [each for each in inspect.signature(figure).parameters if each in _TABLES]

        @functools.wraps(figure)
        def draw(**options: Any) -> go.Figure:
            needed = {table: self._table(table) for table in tables if table not in options}
            return figure(**needed, **options)

        return draw

    def __dir__(self) -> list[str]:
        from lyapopt import figures  # here: as above

        return sorted({*super().__dir__(), *figures.__all__})

    def _table(self, name: str) -> pd.DataFrame:
        if name == "trajectories":
            return self._tables.trajectories()
        table: pd.DataFrame = getattr(self._tables, name)
        return table
