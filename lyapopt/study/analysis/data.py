"""`lyapopt.load`: the one door for analysis, in a notebook or a script."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.checks import Arguments
from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.store.damage import warn_of
from lyapopt.store.engine import has_sql
from lyapopt.store.errors import StoreSchemaError, masked
from lyapopt.store.states import NUMBERS, number_in
from lyapopt.store.urls import sqlite_url
from lyapopt.study.analysis.figures import StudyFigures
from lyapopt.study.analysis.overview import (
    Overview,
    StoredStudy,
    StoredTrial,
    load_study,
    names_of_studies,
)


def load(
    storage: str | os.PathLike[str],
    study_name: str | None = None,
    *,
    store: str | None = None,
) -> StudyData:
    """A study and all that was recorded of it, as tables; read, never written.

    Args:
        storage: URL of Optuna's storage, or the path of an SQLite file.
        study_name: Name of the study; not needed where there is one only.
        store: URL of a store of its own, where the storage has no SQL.

    Raises:
        UserError: If it cannot be read, or there is no such study; the message says which there
            are.

    Warns:
        DamagedDataWarning: Of trials that are damaged, with what is left out of the tables.

    Example:
        >>> import optuna, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> url = f"sqlite:///{folder.name}/study.db"
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> study = optuna.create_study(study_name="parabola", storage=url)
        >>> study.optimize(lambda trial: trial.suggest_float("x", -1, 1) ** 2, n_trials=3)
        >>> data = load(url)
        >>> data.name, len(data.trials), list(data.trials.columns[:4])
        ('parabola', 3, ['study_name', 'trial_number', 'state', 'value'])
        >>> folder.cleanup()
    """
    check = Arguments("load")
    example = "the URL of a storage, such as sqlite:///runs/study.db, or the path of a file"
    check.instance("storage", storage, (str, os.PathLike), example)
    check.optional(check.instance, "study_name", study_name, types=str, expected="a text")
    check.optional(check.instance, "store", store, types=str, expected="the URL of a database")
    url = os.fsdecode(storage)
    if "://" not in url:
        url = sqlite_url(url)
    names = names_of_studies(url)
    if study_name is None:
        if len(names) != 1:
            there = ", ".join(repr(name) for name in names) or "none"
            raise UserError(f"{masked(url)} holds several studies, or none: say which of {there}")
        [study_name] = names
    study = load_study(url, study_name, store)
    warn_of(masked(url), study.damage)
    return StudyData(study, url, store)


class StudyData:
    """A study as tables. Each is read when it is first asked for, and kept.

    Args:
        study: The study with its trials.
        storage: URL of Optuna's storage.
        store: URL of a store of its own.
    """

    def __init__(self, study: StoredStudy, storage: str, store: str | None = None) -> None:
        check = Arguments("StudyData")
        check.instance("study", study, StoredStudy, "a study that lyapopt.load has read")
        check.instance("storage", storage, str, "the URL of a storage")
        check.optional(check.instance, "store", store, types=str, expected="the URL of a database")
        self._study = study
        self._url = store or (storage if has_sql(storage) else None)

    @property
    def name(self) -> str:
        """Name of the study."""
        return self._study.name

    @property
    def directions(self) -> tuple[str, ...]:
        """`minimize` or `maximize`, one for each objective."""
        return self._study.directions

    @cached_property
    def overview(self) -> Overview:
        """The study in a few numbers: counts, the best trial, compute spent and saved."""
        return Overview.of(self._study)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """One row for each trial: `study_name`, `trial_number`, `state`, `value` (or `value_0`,
        `value_1`, ...), a column `params_NAME` for each parameter, one for each user attribute
        (`exponent`, `verdict`, `gradient_evaluations`, ...), `started`, `finished` and `reason`. An
        attribute that has the name of another column is in `user_attrs_NAME`.
        """
        several = len(self.directions) > 1
        rows = []
        for trial in self._study.trials:
            values = trial.values or (None,) * len(self.directions)
            named = {f"value_{i}" if several else "value": v for i, v in enumerate(values)}
            own = {
                "study_name": self.name,
                "trial_number": trial.number,
                "state": trial.state,
                **named,
                **{f"params_{name}": value for name, value in trial.params.items()},
            }
            last = {"started": trial.started, "finished": trial.finished, "reason": trial.reason}
            rows.append({**own, **_attribute_columns(trial, {*own, *last}), **last})
        table = pd.DataFrame(rows)
        for name in ("started", "finished"):
            if name in table:
                table[name] = pd.to_datetime(table[name])
        return table

    @cached_property
    def runs(self) -> pd.DataFrame:
        """One row for each recorded trial; see `TrajectoryStore.runs`."""
        return self._read("runs")

    @cached_property
    def exponents(self) -> pd.DataFrame:
        """One row for each exponent of each trial; see `TrajectoryStore.exponents`."""
        return self._read("exponents")

    @cached_property
    def decisions(self) -> pd.DataFrame:
        """One row for each decision about each trial; see `TrajectoryStore.decisions`."""
        return self._read("decisions")

    def trajectories(
        self, name: str | Sequence[str] | None = None, trial: int | Sequence[int] | None = None
    ) -> pd.DataFrame:
        """Series in the long form; see `TrajectoryStore.trajectories`.

        Args:
            name: One or several series, such as `"loss"`; None for all.
            trial: One or several trials; None for all.
        """
        with self._store() as store:
            return store.trajectories(self.name, trial, name)

    def array(self, name: str, trial: int) -> NDArray[np.generic]:
        """One series of one trial as the array that was recorded; see `TrajectoryStore.array`.

        Args:
            name: Name of the series, such as `"weights"`.
            trial: The trial's number.
        """
        with self._store() as store:
            return store.array(name, self.name, trial)

    @cached_property
    def figures(self) -> StudyFigures:
        """The functions of `lyapopt.figures`, with the tables of this study filled in.

        `data.figures.exponent_against_rate()` draws what `exponent_against_rate(trials)` draws.
        """
        return StudyFigures(self)

    def series_names(self) -> list[str]:
        """Names of the series that there are."""
        with self._store() as store:
            return store.series_names(self.name)

    def __repr__(self) -> str:
        return f"StudyData({self.name!r}, {len(self._study.trials)} trials)"

    def _read(self, what: str) -> pd.DataFrame:
        with self._store() as store:
            table: pd.DataFrame = getattr(store, what)(self.name)
            return table

    def _store(self) -> TrajectoryStore:
        if self._url is None:
            raise UserError(
                f"nothing was recorded of study {self.name!r} beside Optuna's own data: its "
                "storage has no SQL. A study file gives `store: URL` for that"
            )
        try:
            return TrajectoryStore(self._url, create=False)
        except StoreSchemaError as error:
            raise UserError(f"{error}; study {self.name!r} was not run by lyapopt") from error


def _attribute_columns(trial: StoredTrial, taken: Collection[str]) -> dict[str, Any]:
    """A trial's user attributes by column, others' attributes with our names put right.

    One that is called like a column of ours is in `user_attrs_NAME`, as Optuna has it; one that is
    called like a number of ours and is none is left out.
    """
    named = {f"user_attrs_{n}" if n in taken else n: v for n, v in trial.attributes.items()}
    return {
        name: value
        for name, value in named.items()
        if name not in NUMBERS or number_in(trial.attributes, name) is not None
    }


def compare(studies: Iterable[StudyData]) -> pd.DataFrame:
    """Studies side by side, a row each.

    Args:
        studies: From any storages.

    Returns:
        `study_name`, counts by state (`complete`, `pruned`, `failed`), `best` (value of the best
        trial, of the first objective), `best_trial`, `gradient_evaluations` and `saved_share`
        (what pruning saved).
    """
    given: list[object] = list(studies) if isinstance(studies, Iterable) else [studies]
    found = [study for study in given if isinstance(study, StudyData)]
    if not isinstance(studies, Iterable) or len(found) < len(given):
        wrong = next((each for each in given if not isinstance(each, StudyData)), studies)
        Arguments("compare").refuse("studies", wrong, "a list of what lyapopt.load returns")
    rows = []
    for study in found:
        overview = study.overview
        best = overview.best[0] if overview.best else None
        rows.append(
            {
                "study_name": study.name,
                **{state: overview.states[state] for state in ("complete", "pruned", "failed")},
                "best": None if best is None else best.value,
                "best_trial": None if best is None else best.number,
                "gradient_evaluations": overview.gradient_evaluations,
                "saved_share": overview.saved_share,
            }
        )
    return pd.DataFrame(rows)
