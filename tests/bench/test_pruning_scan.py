"""Rules of pruning replayed on tables without Optuna, and shares of good configurations."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from small_case import made_table

from lyapopt.bench.search import pruning_scan
from lyapopt.bench.search.pruning_scan import Pruned, PruningRule
from lyapopt.bench.search.statistics import BUDGETS
from lyapopt.bench.tables import verdict_shares
from lyapopt.bench.tables.measures import measurements
from lyapopt.bench.tables.table import Table


@pytest.fixture(scope="module")
def table() -> Table:
    return made_table()


def test_without_a_rule_every_candidate_is_trained_and_paid_for(table: Table) -> None:
    pruned = PruningRule(0).apply(table)
    first = [cell for cell, _ in islice(pruned.stream(3), 2)]
    regrets = table.regret(table.final)
    found = pruning_scan._alone(table, pruned, 3)
    assert found[0] == regrets[first[0]]  # 1.5 trainings
    assert (np.diff(found) <= 0).all()


@pytest.mark.parametrize("neighbours_for", ["all", "fallen"])
def test_a_pruned_candidate_costs_its_steps_and_the_neighbours_that_were_run(
    table: Table, neighbours_for: str
) -> None:
    pruned = PruningRule(10, 0.01, 0.1, neighbours_for=neighbours_for).apply(table)
    found = measurements(table, 1, 10)
    for cell, one in enumerate(found):
        is_run = neighbours_for == "all" or (
            one.loss_fall >= 0.01 and one.verdict not in ("diverged", "dead")
        )
        assert pruned.cost[cell] == 10 + 10 * is_run
        assert pruned.extra[cell] == 10 * is_run


def test_after_ten_in_a_row_one_that_is_no_worse_is_trained() -> None:
    nothing, falls = np.zeros(4), np.array([0.1, 0.2, 0.3, -np.inf])
    rule = PruningRule(10, 0.5)
    row = Pruned(rule, np.ones(4, dtype=bool), nothing, nothing, falls, np.ones(4))
    kept = [(cell, is_kept) for cell, is_kept in islice(row.stream(0), 500)]
    trained = [cell for cell, is_kept in kept if is_kept]
    assert trained
    assert 3 not in trained  # it diverged
    first = next(i for i, (_, is_kept) in enumerate(kept) if is_kept)
    before = [cell for cell, _ in kept[:first] if cell != 3]
    assert len(before) >= 10
    assert kept[first][0] >= max(before[-10:])


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_loss_that_comes_down_to_where_others_begin_has_fallen_from_its_own_first_one_only(
    is_shared: bool,
) -> None:
    nothing, falls, firsts = np.zeros(3), np.array([0.1, 0.1, 0.8]), np.array([2.3, 2.3, 20.0])
    rule = PruningRule(10, 0.01, is_shared=is_shared)
    pruned = Pruned(rule, np.ones(3, dtype=bool), nothing, nothing, falls, firsts)
    kept = [is_kept for cell, is_kept in islice(pruned.stream(0), 5, 200) if cell == 2]
    assert kept
    assert any(kept) != is_shared


def test_ranked_search_stays_within_its_budget_and_finds_something(table: Table) -> None:
    pruned = PruningRule(10, 0.01).apply(table)
    found = [pruning_scan._ranked(table, pruned, 0, budget) for budget in BUDGETS]
    assert min(found) < 1
    assert found[-1] <= found[0]


def test_every_configuration_has_one_verdict_under_either_rule(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict_shares, "table_of", lambda case, progress: table)
    shares = verdict_shares.verdict_shares(["digits-mlp/sgd"])
    counts = shares.groupby("rule")[["count", "good"]].sum()
    assert counts["count"].tolist() == [len(table.final)] * 2
    assert counts["good"].nunique() == 1
    assert shares["share"].between(0, 1).all()
