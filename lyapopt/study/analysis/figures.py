"""The figures of one study: `lyapopt.figures`, given the study's own tables."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import pandas as pd

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from lyapopt.figures.registry import Tables

_SERIES_COLUMNS: Final = ["study_name", "trial_number", "name", "step", "component", "value"]


class StudyData(Protocol):
    """What is needed of `lyapopt.StudyData`, which imports this file."""

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

    @property
    def is_recorded(self) -> bool:
        """Whether there is more of it than what Optuna keeps."""

    def trajectories(
        self, trial: int | Sequence[int] | None = None, name: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Series in the long form."""

    def series_names(self) -> list[str]:
        """Names of the series that there are."""


class StudyFigures:
    """The figures of a study as methods that need no tables.

    `dir` lists those that the study has the numbers for; the others say what is missing. A table
    that is given takes the place of the study's own; the other arguments are the figure's.

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
        >>> figures.exponent_against_rate(value_name="the rate itself").data[0].name
        'relu'
        >>> folder.cleanup()
    """

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def __getattr__(self, name: str) -> Callable[..., go.Figure]:
        # Imported here and below: plotly takes long to import, and tables need none.
        from lyapopt.figures.registry import FIGURES, draw

        if name not in FIGURES:
            near = difflib.get_close_matches(name, list(FIGURES), n=1)
            advice = f"; did you mean {near[0]!r}?" if near else ""
            raise AttributeError(f"a study has no figure {name!r}{advice}")

        @functools.wraps(FIGURES[name].function)
        def drawn(**arguments: Any) -> go.Figure:
            return draw(name, self._tables, **arguments)

        return drawn

    def __dir__(self) -> list[str]:
        from lyapopt.figures.registry import FIGURES

        own = [name for name in super().__dir__() if name.startswith("_")]
        return sorted([*own, *(n for n, spec in FIGURES.items() if spec.can_draw(self._tables))])

    def __repr__(self) -> str:
        names = [name for name in dir(self) if not name.startswith("_")]
        return f"figures of {self._tables!r}: {', '.join(names)}"


class RecordedTables:
    """A study as the tables that figures are drawn from: empty ones where nothing was recorded.

    Args:
        data: The study.
    """

    def __init__(self, data: StudyData) -> None:
        self._data = data

    @property
    def trials(self) -> pd.DataFrame:
        """A row a trial."""
        return self._data.trials

    @property
    def exponents(self) -> pd.DataFrame:
        """A row an exponent of a trial."""
        return self._data.exponents if self._data.is_recorded else pd.DataFrame()

    @property
    def decisions(self) -> pd.DataFrame:
        """A row a decision about a trial."""
        return self._data.decisions if self._data.is_recorded else pd.DataFrame()

    @property
    def limits(self) -> Mapping[str, float]:
        """Limits between the verdicts that the study was run with."""
        return self._data.limits

    def series(self, names: Sequence[str], trials: Sequence[int]) -> pd.DataFrame:
        """Some series of some trials in the long form."""
        there = [name for name in names if name in self.series_names()]
        if not trials or not there:
            return pd.DataFrame(columns=_SERIES_COLUMNS)
        return self._data.trajectories(trials, there)

    def series_names(self) -> Sequence[str]:
        """Names of the series that there are."""
        return self._data.series_names() if self._data.is_recorded else []

    def __repr__(self) -> str:
        return repr(self._data)
