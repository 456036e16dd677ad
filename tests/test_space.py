"""What a condition means, and in what order parameters come, wherever a space is written."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import optuna
import pytest
from optuna.distributions import FloatDistribution

from lyapopt.search import SearchSpace
from lyapopt.search.samplers.seeded import SeededSampler
from lyapopt.space import FloatParameter, on_grid

RATE = FloatDistribution(0.0, 1.0)


@pytest.mark.parametrize(
    ("wanted", "value", "holds"),
    [
        (True, True, True),
        (True, 1, False),
        (1, True, False),
        (1, 1.0, True),
        (0, False, False),
        (None, None, True),
        ("1", 1, False),
    ],
)
def test_a_condition_has_one_meaning(wanted: Any, value: Any, holds: bool) -> None:
    params = {"flag": value}
    assert FloatParameter(0.0, 1.0, when={"flag": (wanted,)}).is_active(params) is holds
    for conditions in ({"x": {"flag": wanted}}, {"x": {"flag": [wanted]}}):
        assert SearchSpace({"flag": 0, "x": RATE}, conditions).applies("x", params) is holds
    assert not FloatParameter(0.0, 1.0, when={"flag": (wanted,)}).is_active({})


def test_a_parameter_comes_after_those_that_its_condition_reads() -> None:
    space = SearchSpace(
        {"c": RATE, "b": RATE, "a": RATE, "flag": [True, False]},
        {"c": {"b": 1.0}, "b": {"flag": True}},
    )
    assert list(space.parameters) == ["flag", "b", "c", "a"]
    assert list(space.distributions) == ["flag", "b", "c", "a"]


GRIDS = [(0.1, 0.5, 0.1), (0.0, 1.0, 0.1), (-0.3, 0.3, 0.1), (0.1, 1.0, 0.3), (0, 1, 0.25)]
GRIDS += [(1e-5, 7e-5, 1e-5), (0.7, 0.7, 0.1), (0.1, 0.95, 0.2), (100.1, 100.7, 0.2)]


@pytest.mark.parametrize(("low", "high", "step"), GRIDS)
def test_a_grid_of_real_numbers_holds_the_decimals_that_one_would_write(
    low: float, high: float, step: float
) -> None:
    parameter = FloatParameter(low, high, step=step)
    places = 6
    count = round((Fraction(str(high)) - Fraction(str(low))) // Fraction(str(step))) + 1
    written = [round(low + step * k, places) for k in range(count)]
    assert list(parameter.values()) == written
    assert all(parameter.contains(value) for value in written)
    assert [on_grid(low + step * k, low, step) for k in range(count)] == written


def test_a_fine_grid_costs_nothing_before_it_is_read() -> None:
    values = FloatParameter(0.0, 1.0, step=1e-12).values()
    assert len(values) == 10**12 + 1
    assert values[3] == 3e-12
    assert values[-2:] == [0.999999999999, 1.0]


@pytest.mark.parametrize(
    "sampler",
    [
        optuna.samplers.RandomSampler(),
        optuna.samplers.TPESampler(n_startup_trials=4),
        optuna.samplers.TPESampler(n_startup_trials=4, multivariate=True),
        optuna.samplers.GridSampler({"x": [0.1, 0.2, 0.1 + 0.2]}),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_what_a_study_stores_of_a_stepped_parameter_is_the_decimal(
    sampler: optuna.samplers.BaseSampler,
) -> None:
    study = optuna.create_study(sampler=SeededSampler(sampler, seed=0))
    study.optimize(lambda trial: trial.suggest_float("x", 0.1, 0.9, step=0.1), n_trials=30)
    stored = {trial.params["x"] for trial in study.trials}
    assert stored <= {0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9}
    assert 0.3 in stored
