"""`lyapopt.load`: the one door for analysis, in a notebook or a script."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lyapopt.checks import Arguments
from lyapopt.errors import UserError
from lyapopt.notebook import html_table
from lyapopt.store import TrajectoryStore
from lyapopt.store.damage import warn_of
from lyapopt.store.engine import has_sql
from lyapopt.store.errors import StoreSchemaError, masked
from lyapopt.store.states import NUMBERS, number_in
from lyapopt.store.urls import sqlite_url
from lyapopt.study.analysis.figures import RecordedTables, StudyFigures
from lyapopt.study.analysis.overview import (
    Overview,
    StoredStudy,
    StoredTrial,
    load_study,
    names_of_studies,
)
from lyapopt.study.analysis.promoted import promoted_study

_SHOWN_OF_FRONT = 5
_AT_ONCE = 500  # trials that one query asks for by number
_LOOKED_AT = 20  # trials, for the limits that all were measured with


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
        self._whole: StudyData | None = None
        check = Arguments("StudyData")
        check.instance("study", study, StoredStudy, "a study that lyapopt.load has read")
        check.instance("storage", storage, str, "the URL of a storage")
        check.optional(check.instance, "store", store, types=str, expected="the URL of a database")
        self._study, self._places = study, (storage, store)
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
    def promoted(self) -> StudyData | None:
        """The study in which its best trials were trained in full; `None` if there is none."""
        storage, store = self._places
        study = promoted_study(storage, self.name, store)
        return None if study is None else StudyData(study, storage, store)

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
        table.attrs["directions"] = self.directions  # figures ask which way is better
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

    def trial(self, number: int) -> StoredTrial | None:
        """One trial with all that Optuna knows of it; `None` if there is none of that number."""
        return next((each for each in self._study.trials if each.number == number), None)

    def only(self, trials: Collection[int]) -> StudyData:
        """The same study with these trials only: its tables, overview and figures.

        Tables that were read already are not read again.

        Args:
            trials: Numbers of the trials.

        Example:
            >>> from lyapopt.store.trials import StoredTrial
            >>> two = [StoredTrial(0, "failed"), StoredTrial(1, "failed")]
            >>> both = StoredStudy("two", ("minimize",), two)
            >>> StudyData(both, "sqlite:///study.db").only([1]).trials["trial_number"].tolist()
            [1]
        """
        kept = set(trials)
        some = [trial for trial in self._study.trials if trial.number in kept]
        study = replace(self._study, trials=some)
        found = StudyData.__new__(StudyData)
        found._study, found._places = study, self._places
        found._url, found._whole = self._url, self._whole or self
        return found

    def trajectories(
        self, trial: int | Sequence[int] | None = None, name: str | Sequence[str] | None = None
    ) -> pd.DataFrame:
        """Series in the long form; see `TrajectoryStore.trajectories`.

        Args:
            trial: Number of one or several trials; None for all.
            name: One or several series, such as `"loss"`; None for all.

        Raises:
            UserError: If there is no such trial or series; the message says what there is.
        """
        numbers = self._trials_of("trajectories", trial)
        names = _names("trajectories", name)
        with self._store() as store:
            if missing := sorted(set(names or ()) - set(found := store.series_names(self.name))):
                there = ", ".join(found) or "none"
                raise UserError(
                    f"study {self.name!r} has no series {missing[0]!r}; it has: {there}"
                )
            return store.trajectories(self.name, numbers, names)

    def array(self, name: str, trial: int) -> NDArray[np.generic]:
        """One series of one trial as the array that was recorded; see `TrajectoryStore.array`.

        Args:
            name: Name of the series, such as `"weights"`.
            trial: The trial's number.

        Raises:
            UserError: If there is no such trial or series; the message says what there is.
        """
        check = Arguments("array")
        check.instance("name", name, str, "the name of a series, such as 'loss'")
        number = check.whole("trial", trial, least=0)
        self._trials_of("array", number)
        with self._store() as store:
            return store.array(name, self.name, number)

    @cached_property
    def limits(self) -> Mapping[str, float]:
        """The limits between the verdicts that the study was run with; empty if none are known."""
        measured = [trial.number for trial in self._study.trials if trial.verdict is not None]
        if not measured or not self.is_recorded:
            return {}
        with self._store() as store:
            settings = store.runs(self.name, measured[:_LOOKED_AT])["settings"]
        probes = (each.get("probe") for each in settings if isinstance(each, Mapping))
        rules = (each.get("rule") for each in probes if isinstance(each, Mapping))
        return next((dict(rule) for rule in rules if isinstance(rule, Mapping)), {})

    @cached_property
    def is_recorded(self) -> bool:
        """Whether there is more of it than what Optuna keeps: series, exponents, decisions."""
        if self._url is None:
            return False
        try:
            with TrajectoryStore(self._url, create=False):
                return True
        except StoreSchemaError:
            return False

    @cached_property
    def figures(self) -> StudyFigures:
        """The figures of this study: `data.figures.exponent_against_rate()`, and so on.

        `dir(data.figures)`, and so a tab in a notebook, lists those that there are numbers for.
        """
        return StudyFigures(RecordedTables(self))

    def series_names(self) -> list[str]:
        """Names of the series that there are."""
        with self._store() as store:
            return store.series_names(self.name)

    def __repr__(self) -> str:
        return f"StudyData({self.name!r}, {len(self._study.trials)} trials)"

    def _repr_html_(self) -> str:
        """What a notebook shows: where the study stands, and which figures there are."""
        overview, number = self.overview, len(self._study.trials)
        rows: list[tuple[str, object]] = [("directions", ", ".join(self.directions))]
        rows += [("trials", _counted(overview.states)), ("verdicts", _counted(overview.verdicts))]
        for trial in overview.best[:_SHOWN_OF_FRONT]:
            params = ", ".join(f"{name}={value}" for name, value in trial.params.items())
            values = ", ".join(f"{value:.4g}" for value in trial.values)
            rows.append(("best", f"trial {trial.number}: {values}; {params}"))
        spent = f"{overview.gradient_evaluations:,.0f} gradient evaluations"
        rows.append(("cost", "; ".join(filter(None, (spent, overview.saved_in_words)))))
        names = [name for name in dir(self.figures) if not name.startswith("_")]
        return html_table(
            f"Study {self.name}: {number:,} trials", [], rows, [f"figures: {', '.join(names)}"]
        )

    def _trials_of(self, where: str, trial: object) -> list[int] | None:
        """Numbers of the trials that are asked for, if all of them are there."""
        if trial is None:
            return None
        several = trial if isinstance(trial, Iterable) and not isinstance(trial, str) else [trial]
        numbers = [_number(where, each) for each in several]
        there = {each.number for each in self._study.trials}
        if unknown := [number for number in numbers if number not in there]:
            known = f"0 to {max(there)}" if there else "none"
            raise UserError(f"study {self.name!r} has no trial {unknown[0]}; it has: {known}")
        return numbers

    def _read(self, what: str) -> pd.DataFrame:
        whole, numbers = self._whole, [trial.number for trial in self._study.trials]
        if whole is not None and (len(numbers) > _AT_ONCE or what in vars(whole)):
            table: pd.DataFrame = getattr(whole, what)
            return table[table["trial_number"].isin(numbers)].reset_index(drop=True)
        with self._store() as store:
            read = getattr(store, what)
            return read(self.name) if whole is None else read(self.name, numbers)  # type: ignore[no-any-return]

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


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count:,} {name}" for name, count in ordered) or "none"


def _number(where: str, value: object) -> int:
    if not isinstance(value, Integral) or isinstance(value, bool):
        second = "; the name of a series comes second" if where == "trajectories" else ""
        Arguments(where).refuse("trial", value, f"the number of a trial{second}")
    return int(value)  # type: ignore[call-overload, no-any-return]  # an Integral


def _names(where: str, value: object) -> list[str] | None:
    if value is None or isinstance(value, str):
        return None if value is None else [value]
    names = list(value) if isinstance(value, Iterable) else [value]
    if not all(isinstance(name, str) for name in names):
        Arguments(where).refuse("name", value, "the name of a series, such as 'loss', or several")
    return [str(name) for name in names]


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
