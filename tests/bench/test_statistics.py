"""Areas, intervals, ranks and tests on numbers whose answers are known."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyapopt.bench.search.methods import OURS
from lyapopt.bench.search.report import targets
from lyapopt.bench.search.statistics import (
    BUDGETS,
    area,
    areas,
    compute_to_reach,
    differences,
    holm,
    interval,
    summary,
)


def results(means: dict[str, float], noise: float = 0.02, seeds: int = 12) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for case, seed in itertools.product(("a", "b", "c"), range(seeds)):
        shared = rng.normal(0, noise)
        for method, mean in means.items():
            for budget in BUDGETS:
                regret = float(np.clip(mean / budget + shared + rng.normal(0, noise), 0, 1))
                rows.append((case, method, "rival", seed, budget, regret, 0.0))
    columns = ["case", "method", "family", "seed", "budget", "regret", "spent"]
    return pd.DataFrame(rows, columns=columns)


@given(st.lists(st.floats(0, 1), min_size=6, max_size=6))
def test_an_area_lies_between_the_smallest_and_the_largest_regret(regrets: list[float]) -> None:
    found = float(area(np.array(regrets), BUDGETS))
    assert min(regrets) - 1e-12 <= found <= max(regrets) + 1e-12


def test_equal_factors_of_budget_weigh_alike() -> None:
    late = area(np.array([0.0, 0.0, 1.0]), [1.0, 10.0, 100.0])
    assert float(late) == pytest.approx(0.25)


def test_an_interval_covers_the_mean_and_shrinks_with_more_seeds() -> None:
    rng = np.random.default_rng(1)
    few, many = rng.normal(0.5, 0.1, (8, 5)), rng.normal(0.5, 0.1, (8, 80))
    for values in (few, many):
        low, high = interval(values)
        assert low < values.mean() < high
    width = [float(np.subtract(*interval(values)[::-1])) for values in (few, many)]
    assert width[1] < width[0]


def test_cases_count_as_cases_however_many_seeds_they_have() -> None:
    rng = np.random.default_rng(2)
    by_case = rng.normal(0.5, 0.3, (4, 1)) + rng.normal(0, 1e-3, (4, 500))
    low, high = interval(by_case)
    assert high - low > 0.1


def test_a_better_method_is_found_better_and_an_equal_one_is_not() -> None:
    found = differences(results({"ours": 0.3, "worse": 0.5, "equal": 0.3}), "ours")
    table = found.set_index("method")
    assert table.loc["worse", "high"] < 0
    assert table.loc["worse", "p_holm"] < 0.01
    assert table.loc["equal", "low"] < 0 < table.loc["equal", "high"]
    assert table.loc["equal", "p_holm"] > 0.05


def test_holm_never_lowers_a_p_value_and_keeps_their_order() -> None:
    p = np.array([0.2, 0.001, 0.04, 0.03])
    corrected = holm(p)
    assert (corrected >= p).all()
    assert (np.diff(corrected[np.argsort(p)]) >= 0).all()


def test_a_summary_ranks_the_best_first() -> None:
    table = summary(results({"bad": 0.8, "good": 0.1, "middle": 0.4}, noise=0.005))
    assert table["method"].tolist() == ["good", "middle", "bad"]
    assert table["rank"].tolist() == pytest.approx([1, 2, 3], abs=0.2)
    assert (table["area_low"] < table["area"]).all()


def test_the_budget_to_reach_a_regret_is_interpolated_and_may_not_exist() -> None:
    frame = results({"ours": 0.2, "slow": 0.4, "ahead": 0.02}, noise=0.0)
    reach = compute_to_reach(frame, "ours").set_index("method")
    assert reach.loc["slow", "budget"] == pytest.approx(10, rel=0.02)
    assert np.isnan(reach.loc["ahead", "budget"])


def test_areas_have_a_row_a_run() -> None:
    frame = areas(results({"a": 0.1, "b": 0.2}, seeds=4))
    assert len(frame) == 3 * 4 * 2
    assert frame["small"].gt(frame["last"]).all()


def test_targets_hold_only_where_the_interval_says_so() -> None:
    names = {
        "edge of chaos + ranking": 0.2,
        "i-Epoch 1 epoch, top 1": 0.5,
        "ternary loss search": 0.1,
        "TPE + Median": 0.9,
        "TPE + LyapunovPruner": 0.6,
    }
    statements = targets(results(names))
    found = {target.rival: target for target in statements if target.ours == OURS}
    against_epochs = {t.text: t.outcome for t in statements if t.rival.startswith("i-Epoch")}
    assert against_epochs == {
        "area under regret up to 3 trainings: below the best i-Epoch's": "held",
        "area under regret up to 3 trainings: not above half of the best i-Epoch's": "held",
        "area under regret over all budgets: below the best i-Epoch's": "held",
        "area under regret over all budgets: not above half of the best i-Epoch's": "held",
        "area under regret over all budgets: not above the best i-Epoch's": "missed",
    }
    assert found["ternary loss search"].outcome == "missed"
    assert found["TPE + Median"].outcome == "held"
    assert found["ternary loss search"].low > 0
