"""Runs are stored as studies and not run twice; a few trainings are really made."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from small_case import made_table, small_case

from lyapopt.bench.search.archive import SearchArchive, add_table
from lyapopt.bench.search.comparison import Job, compare
from lyapopt.bench.search.live_check import agrees, live_check
from lyapopt.bench.tables.recording import record
from lyapopt.bench.tables.table import Table


@pytest.fixture
def storage(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/runs/bench.db"


def jobs(folder: Path) -> list[Job]:
    table = made_table()
    path = folder / "made.npz"
    table.save(path)
    return [Job(table.case, path, name, (0, 1), (2.0, 5.0)) for name in ("random", "oracle")]


def test_what_was_stored_comes_back_and_is_not_missing(tmp_path: Path, storage: str) -> None:
    archive = SearchArchive(storage)
    chosen = jobs(tmp_path)
    assert archive.missing(chosen) == chosen
    results = compare(chosen, done=archive.add)
    again = SearchArchive(storage)
    assert again.missing(chosen) == []
    pd.testing.assert_frame_equal(again.results(chosen), results, check_like=True)


def test_more_seeds_add_to_what_is_stored(tmp_path: Path, storage: str) -> None:
    archive = SearchArchive(storage)
    chosen = jobs(tmp_path)
    compare(chosen, done=archive.add)
    more = [dataclasses.replace(job, seeds=(0, 1, 2)) for job in chosen]
    assert archive.missing(more) == more
    compare(more, done=archive.add)
    assert archive.missing(more) == []
    [name] = optuna.get_all_study_names(storage)
    study = optuna.load_study(study_name=name, storage=storage)
    assert len(study.trials) == 6


def test_a_study_of_runs_has_regrets_as_intermediate_values(tmp_path: Path, storage: str) -> None:
    archive = SearchArchive(storage)
    chosen = jobs(tmp_path)
    results = compare(chosen, done=archive.add)
    [name] = optuna.get_all_study_names(storage)
    assert name.startswith("search made")
    study = optuna.load_study(study_name=name, storage=storage)
    trial = next(t for t in study.trials if t.params == {"method": "random", "seed": 1})
    own = results[(results["method"] == "random") & (results["seed"] == 1)]
    assert trial.intermediate_values == dict(zip([200, 500], own["regret"], strict=True))


def read_table(storage: str, name: str) -> pd.DataFrame:
    study = optuna.load_study(study_name=name, storage=storage)
    [about] = study.user_attrs.values()
    rows = [{**trial.user_attrs, about["value"]: trial.value} for trial in study.trials]
    return pd.DataFrame(rows, columns=about["columns"])


def test_a_table_of_numbers_comes_back_from_a_study(storage: str) -> None:
    rows = pd.DataFrame({"signal": ["a", "b"], "auc": [0.5, np.nan], "spearman": [0.1, -0.2]})
    add_table(storage, "signals made", rows, "spearman")
    add_table(storage, "signals made", rows, "spearman")
    pd.testing.assert_frame_equal(read_table(storage, "signals made"), rows)


@pytest.fixture(scope="module")
def recorded() -> Table:
    return record(small_case())


def test_trainings_made_live_end_where_the_table_says(recorded: Table) -> None:
    checked = live_check(recorded, cells=3)
    assert agrees(checked)
    assert checked["snapping"].abs().max() < 1
    assert (abs(np.log(checked["off_lr"] / checked["lr"])) <= np.log(10) / 4 + 1e-9).all()


def test_a_table_that_is_wrong_is_found_out(recorded: Table) -> None:
    wrong = dataclasses.replace(recorded, validation=recorded.validation * 1.001)
    assert not agrees(live_check(wrong, cells=3))
