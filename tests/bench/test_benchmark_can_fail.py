"""The benchmark tells good from bad: an oracle wins, a useless sampler loses, no placebo wins."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_case import made_table

from lyapopt.bench.search.comparison import Job, compare, run_job
from lyapopt.bench.search.methods import OURS
from lyapopt.bench.search.report import report_of
from lyapopt.bench.search.statistics import differences, summary

METHODS = (
    "random",
    OURS,
    "placebo: shuffled exponent",
    "oracle",
    "useless",
)


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    folder = tmp_path_factory.mktemp("tables")
    return compare(jobs(folder, METHODS, range(6)))


def jobs(folder: Path, methods: tuple[str, ...], seeds: range) -> list[Job]:
    found = []
    for number in (0, 1):
        table = made_table(number)
        case = table.case
        object.__setattr__(case, "name", f"made {number}")
        path = folder / f"made-{number}.npz"
        table.save(path)
        found += [Job(case, path, method, tuple(seeds)) for method in methods]
    return found


def test_the_oracle_is_first_and_the_useless_sampler_last(results: pd.DataFrame) -> None:
    table = summary(results).set_index("method")
    assert table.index[0] == "oracle"
    assert table.loc["oracle", "area"] == pytest.approx(0, abs=1e-12)
    assert table.index[-1] == "useless"
    assert table.loc["useless", "area"] == 1.0


def test_where_exponents_tell_steering_wins_and_its_placebo_does_not(results: pd.DataFrame) -> None:
    table = differences(results, OURS).set_index("method")
    assert table.loc["random", "high"] < 0
    assert table.loc["placebo: shuffled exponent", "high"] < 0
    assert table.loc["useless", "p_holm"] < 0.01
    assert table.loc["oracle", "low"] > 0


def test_the_same_jobs_give_the_same_tables(tmp_path: Path) -> None:
    chosen = jobs(tmp_path, ("random", OURS), range(2))
    first, second = compare(chosen), compare(chosen)
    pd.testing.assert_frame_equal(first, second)
    pd.testing.assert_frame_equal(first, compare(chosen, processes=2))
    pd.testing.assert_frame_equal(report_of(first).summary, report_of(second).summary)


def test_regret_never_rises_with_the_budget_of_an_anytime_method(tmp_path: Path) -> None:
    for job in jobs(tmp_path, ("random", "TPE + Hyperband"), range(3)):
        rows = run_job(job)
        for _, part in rows.groupby("seed"):
            assert (np.diff(part.sort_values("budget")["regret"]) <= 0).all()
