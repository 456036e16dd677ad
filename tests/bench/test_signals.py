"""What signals are worth, on tables where it is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from small_case import made_table

from lyapopt.bench.signal.report import SignalReport
from lyapopt.bench.signal.scores import auc, score_table
from lyapopt.bench.signal.signals import cells, signals


def test_an_area_under_the_curve_is_the_share_of_pairs_in_order() -> None:
    values = np.array([1.0, 2.0, 3.0, 4.0])
    assert auc(values, np.array([False, True, False, True])) == 0.75
    assert auc(values, np.array([True, True, False, False])) == 0.0
    assert np.isnan(auc(values, np.ones(4, dtype=bool)))
    assert auc(np.ones(4), np.array([False, True, False, True])) == 0.5


@pytest.mark.slow
@pytest.mark.ci
def test_exponents_tell_what_was_put_into_them_and_placebos_do_not() -> None:
    scores = score_table(made_table()).set_index(["signal", "order"])
    own = scores.loc[("exponent, 1 neighbour", 10)]
    assert own["auc_above"] == 1.0
    shuffled = scores.loc[("placebo: shuffled exponent", 10)]
    assert shuffled["auc_above"] == pytest.approx(0.5, abs=0.15)
    assert shuffled["gain_high"] < own["gain_high"] + 0.05
    report = SignalReport(scores.reset_index())
    assert len(report.means) == len(scores)
    assert report.as_page("lyapopt").count("<html") == 1


def test_costs_are_counted_as_in_the_probe() -> None:
    table = made_table()
    costs = {(s.name, s.steps): s.cost for s in signals(table)}
    assert costs["exponent, 1 neighbour", 10] == 20
    assert costs["exponent, 16 neighbours", 20] == 17 * 20
    assert costs["exponent by tangent", 20] == 60
    assert costs["training loss", 20] == 20
    assert costs["validation loss", 20] == 20 + table.facts.evaluation_cost
    assert costs["gradient norm", 10] == 11
    assert costs["placebo: log lr", 5] == 1


def test_the_table_of_configurations_has_their_signals_but_no_placebo() -> None:
    table = made_table()
    frame = cells(table)
    assert len(frame) == len(table.final)
    assert not any("placebo" in column for column in frame)


def test_regret_is_zero_at_the_best_and_one_untrained() -> None:
    table = made_table()
    assert float(table.regret(table.final.min())) == 0
    assert float(table.regret(table.untrained)) == 1
    worse = dataclasses.replace(table, validation=table.validation * 10)
    assert worse.final.max() == table.untrained
