"""Benchmark runs as Optuna studies in a SQL database: what pages are drawn from."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import optuna
import pandas as pd
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import TrialState

from lyapopt.bench.search.comparison import Job
from lyapopt.bench.search.methods import METHODS
from lyapopt.bench.search.statistics import area

_HUNDREDTH = 100  # budgets are steps of a trial, in hundredths of a training
_KEY = "lyapopt:bench"
_FAMILY = "family"
_SPENT = "spent"


class SearchArchive:
    """Replays of a benchmark: one study a case, one trial a method and seed.

    A trial's value is the area under its regret, its intermediate values are the regrets at the
    budgets (steps are hundredths of a full training). What is there is not run again: the name of a
    study holds a digest of the table and of the code that searches.

    Args:
        storage: URL of the database.
    """

    def __init__(self, storage: str) -> None:
        make_folder(storage)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = optuna.storages.get_storage(storage)
        self._studies: dict[str, optuna.Study] = {}

    def missing(self, jobs: Sequence[Job]) -> list[Job]:
        """The jobs of which not all seeds are stored."""
        return [job for job in jobs if len(self._rows(job)) < len(job.seeds) * len(job.budgets)]

    def add(self, job: Job, rows: pd.DataFrame) -> None:
        """Store the results of a job."""
        study = self._study(job)
        known = set(self._rows(job)["seed"]) if len(self._rows(job)) else set()
        for seed, part in rows.groupby("seed"):
            if seed not in known:
                study.add_trial(_as_trial(job, int(str(seed)), part))

    def results(self, jobs: Sequence[Job]) -> pd.DataFrame:
        """Stored rows of jobs, in their order."""
        parts = [self._rows(job) for job in jobs]
        parts = [part for part in parts if len(part)]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    def _rows(self, job: Job) -> pd.DataFrame:
        rows = []
        for trial in self._study(job).get_trials(deepcopy=False):
            if trial.params["method"] != job.method or trial.params["seed"] not in job.seeds:
                continue
            for step, regret in sorted(trial.intermediate_values.items()):
                rows.append(
                    {
                        "case": job.case.name,
                        "method": job.method,
                        "family": trial.user_attrs[_FAMILY],
                        "seed": trial.params["seed"],
                        "budget": step / _HUNDREDTH,
                        "regret": regret,
                        "spent": trial.user_attrs[_SPENT],
                    }
                )
        return pd.DataFrame(rows)

    def _study(self, job: Job) -> optuna.Study:
        name = f"search {job.case.name} {_digest(job)}"
        if name not in self._studies:
            study = optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)
            if _KEY not in study.user_attrs:
                study.set_user_attr(_KEY, {"case": job.case.name, "code": code_digest()})
            self._studies[name] = study
        return self._studies[name]


def _as_trial(job: Job, seed: int, part: pd.DataFrame) -> optuna.trial.FrozenTrial:
    ordered = part.sort_values("budget")
    regrets = ordered["regret"].to_numpy(dtype=float)
    budgets = ordered["budget"].to_numpy(dtype=float)
    return optuna.create_trial(
        state=TrialState.COMPLETE,
        value=float(area(regrets, budgets.tolist())) if len(budgets) > 1 else float(regrets[0]),
        params={"method": job.method, "seed": seed},
        distributions={
            "method": CategoricalDistribution(tuple(METHODS)),
            "seed": IntDistribution(0, 10**6),
        },
        intermediate_values={
            round(_HUNDREDTH * b): float(r) for b, r in zip(budgets, regrets, strict=True)
        },
        user_attrs={_FAMILY: METHODS[job.method].family, _SPENT: float(ordered["spent"].iloc[-1])},
    )


def add_table(storage: str, name: str, rows: pd.DataFrame, value: str) -> None:
    """Store a table of numbers as a study: a row a trial, one column its value.

    Args:
        storage: URL of the database.
        name: Name of the study; one that is there is replaced.
        rows: Columns of numbers and texts; missing ones are left out.
        value: The column that is the value of a trial.
    """
    make_folder(storage)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    opened = optuna.storages.get_storage(storage)
    if name in [known.study_name for known in optuna.get_all_study_summaries(opened)]:
        optuna.delete_study(study_name=name, storage=opened)
    study = optuna.create_study(storage=opened, study_name=name)
    study.set_user_attr(_KEY, {"columns": list(rows.columns), "value": value})
    for row in rows.to_dict(orient="records"):
        number = float(row[value])
        is_known = math.isfinite(number)
        study.add_trial(
            optuna.create_trial(
                state=TrialState.COMPLETE if is_known else TrialState.FAIL,
                value=number if is_known else None,
                user_attrs={str(k): v for k, v in row.items() if k != value and _is_plain(v)},
            )
        )


def make_folder(storage: str) -> None:
    """Make the folder of a SQLite file."""
    if storage.startswith("sqlite:///"):
        Path(storage.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)


@functools.cache  # of the code that runs, whatever becomes of the files meanwhile
def code_digest(folders: tuple[str, ...] = ("bench", "probe", "search")) -> str:
    """A digest of the code that results follow from, those of replays by default.

    Args:
        folders: Of the package.
    """
    root = Path(__file__).parents[2]
    digest = hashlib.blake2b(digest_size=6)
    for folder in folders:
        for path in sorted((root / folder).rglob("*.py")):
            digest.update(path.read_bytes())
    digest.update((root / "space.py").read_bytes())
    return digest.hexdigest()


def _digest(job: Job) -> str:
    text = f"{job.path.stem} {code_digest()} {job.budgets}"
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _is_plain(value: object) -> bool:
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str | int | bool)
