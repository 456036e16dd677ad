"""Our pruners, and Optuna's own, pass the kit for pruners."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import optuna
import pytest
from optuna import pruners as p

from lyapopt.errors import UserError
from lyapopt.paper import GatedPercentilePruner
from lyapopt.search import LyapunovPruner
from lyapopt.testing.pruner_kit import MakePruner, PrunerTestCase


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


class Measured(PrunerTestCase):
    """Trials that carry what a probe leaves."""

    def user_attrs(self, number: int) -> dict[str, float | str]:
        exponent = (number * 7 % 11) / 20 - 0.1
        verdict = "diverged" if number % 9 == 8 else "dead" if number % 9 == 7 else "edge"
        return {
            "exponent": exponent,
            "loss_fall": (number * 5 % 11) / 20,
            "verdict": verdict,
            "initial_loss": 1 + (number % 4) / 4,
        }


class TestLyapunov(Measured):
    @pytest.fixture(
        params=[
            {},
            {"slow": None, "dead": False},
            {"hot": None, "slow": 0.3},
            {"wrapped": p.MedianPruner(n_startup_trials=3)},
            {"wrapped": p.SuccessiveHalvingPruner()},
        ],
        ids=["plain", "hot", "slow", "median", "halving"],
    )
    def pruner(self, request: pytest.FixtureRequest) -> MakePruner:
        return functools.partial(LyapunovPruner, **request.param)


class TestGatedPercentile(Measured):
    @pytest.fixture
    def pruner(self) -> MakePruner:
        return functools.partial(GatedPercentilePruner, n_startup_trials=3)


@pytest.mark.slow
class TestOfOptuna(PrunerTestCase):
    @pytest.fixture(
        params=[
            p.NopPruner,
            p.SuccessiveHalvingPruner,
            functools.partial(p.HyperbandPruner, min_resource=1, max_resource=5),
            functools.partial(p.PatientPruner, p.MedianPruner(n_startup_trials=2), 1),
        ],
        ids=lambda make: getattr(make, "func", make).__name__,
    )
    def pruner(self, request: pytest.FixtureRequest) -> MakePruner:
        make: MakePruner = request.param
        return make


@pytest.mark.slow
class TestThreshold(PrunerTestCase):
    """Thresholds are absolute: negated values are not pruned alike."""

    is_symmetric: ClassVar[bool] = False

    @pytest.fixture
    def pruner(self) -> MakePruner:
        return functools.partial(p.ThresholdPruner, upper=1.5)


@pytest.mark.slow
class TestThatAnswerWithNumpyBools(PrunerTestCase):
    """Optuna's own do, from their comparisons of medians."""

    answers: ClassVar[tuple[type, ...]] = (bool, np.bool)

    @pytest.fixture(
        params=[
            functools.partial(p.MedianPruner, n_startup_trials=2),
            functools.partial(p.PercentilePruner, 25.0, n_startup_trials=2),
        ],
        ids=lambda make: make.func.__name__,
    )
    def pruner(self, request: pytest.FixtureRequest) -> MakePruner:
        make: MakePruner = request.param
        return make


@pytest.mark.slow
class TestWilcoxon(PrunerTestCase):
    """It asks for the best trial, which a Hyperband bracket hides."""

    knows_brackets: ClassVar[bool] = False

    @pytest.fixture
    def pruner(self) -> MakePruner:
        return functools.partial(p.WilcoxonPruner, n_startup_steps=2)


@pytest.mark.parametrize("pruner_class", [LyapunovPruner, GatedPercentilePruner])
def test_a_hyperband_pruner_inside_ours_is_refused(pruner_class: Any) -> None:
    hyperband = p.HyperbandPruner()
    for wrapped in (hyperband, LyapunovPruner(wrapped=p.PatientPruner(p.NopPruner(), 1))):
        if wrapped is hyperband:
            with pytest.raises(UserError, match="Hyperband"):
                pruner_class(wrapped=wrapped)
        else:
            assert pruner_class(wrapped=wrapped).wrapped is wrapped
    with pytest.raises(UserError, match="SuccessiveHalvingPruner instead"):
        pruner_class(wrapped=p.PatientPruner(hyperband, patience=1))
