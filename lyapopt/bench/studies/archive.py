"""Studies that were run, one a trial of a study of their own: none is run twice."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import optuna
import pandas as pd
import torch
from optuna.distributions import CategoricalDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState

from lyapopt.bench import Progress, silent
from lyapopt.bench.search.archive import code_digest, make_folder
from lyapopt.bench.studies.problems import LENGTHS, PROBLEMS, Length, Problem
from lyapopt.bench.studies.runs import OURS, PLAIN, Found, RunFile, plain, recommended

_CODE = ("bench/studies", "dynamics", "exponents", "probe", "search", "study", "tasks")
"""What results follow from."""


class StudyArchive:
    """Studies of `lyapopt bench studies` in a SQL database.

    A study a problem and length; a trial a method and seed, whose value is the lowest loss found.
    Its name holds a digest of the code, so that results of other code are left alone.

    Args:
        storage: URL of the database.
        run_file: Runs a study file.
    """

    def __init__(self, storage: str, run_file: RunFile) -> None:
        make_folder(storage)
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = optuna.storages.get_storage(storage)
        self._methods: dict[str, Callable[[Problem, Length, int], Found]] = {
            OURS: functools.partial(recommended, run_file=run_file),
            PLAIN: plain,
        }

    def results(
        self, problems: Sequence[str], seeds: Sequence[int], progress: Progress = silent
    ) -> pd.DataFrame:
        """One row a study, after those that are missing have been run.

        Columns: `problem`, `length`, `seed`, `method` and the fields of `Found`.

        Args:
            problems: Names.
            seeds: Of studies.
            progress: Called with every study before it runs.
        """
        threads = torch.get_num_threads()
        torch.set_num_threads(1)  # small networks lose on several
        try:
            return pd.DataFrame(self._rows(problems, seeds, progress))
        finally:
            torch.set_num_threads(threads)

    def _rows(
        self, problems: Sequence[str], seeds: Sequence[int], progress: Progress
    ) -> Iterator[dict[str, object]]:
        for name in problems:
            for length in LENGTHS:
                study = self._study(f"studies {name} {length.name} {code_digest(_CODE)}")
                known = {_key(trial): Found(**trial.user_attrs) for trial in study.trials}
                for seed in seeds:
                    for method, run in self._methods.items():
                        found = known.get((method, seed))
                        if found is None:
                            progress(f"{name}, {length.name}, seed {seed}: {method}")
                            found = run(PROBLEMS[name], length, seed)
                            study.add_trial(_as_trial(method, seed, found))
                        yield {
                            "problem": name, "length": length.name, "seed": seed,
                            "method": method, **asdict(found),
                        }  # fmt: skip

    def _study(self, name: str) -> optuna.Study:
        return optuna.create_study(storage=self._storage, study_name=name, load_if_exists=True)


def _key(trial: FrozenTrial) -> tuple[str, int]:
    return trial.params["method"], trial.params["seed"]


def _as_trial(method: str, seed: int, found: Found) -> FrozenTrial:
    return optuna.create_trial(
        state=TrialState.COMPLETE,
        value=found.value,
        params={"method": method, "seed": seed},
        distributions={
            "method": CategoricalDistribution((OURS, PLAIN)),
            "seed": IntDistribution(0, 10**6),
        },
        user_attrs=asdict(found),
    )
