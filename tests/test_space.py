"""What a condition means, and in what order parameters come, wherever a space is written."""

from __future__ import annotations

from typing import Any

import pytest
from optuna.distributions import FloatDistribution

from lyapopt.search import SearchSpace
from lyapopt.space import FloatParameter

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
