"""Optuna's own cases for samplers, run on ours over several bases."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable, Iterator

import optuna
import pytest
from networks import Quadratic
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    QMCSampler,
    RandomSampler,
    TPESampler,
)
from optuna.testing.pytest_samplers import (
    BasicSamplerTestCase,
    MultiObjectiveSamplerTestCase,
    RelativeSamplerTestCase,
)

from lyapopt.probe import Probe
from lyapopt.search import EdgeOfChaosSampler, ScreeningSampler, SeededSampler

BASES: dict[str, Callable[[], BaseSampler]] = {
    "tpe": lambda: TPESampler(n_startup_trials=0, seed=0),
    "random": lambda: RandomSampler(seed=0),
    "gp": lambda: GPSampler(n_startup_trials=0, seed=0),
}
# In the gate TPE; `pytest -m slow` runs the others too.
OTHERS = [pytest.param(name, marks=pytest.mark.slow) for name in BASES if name != "tpe"]
ALL = ["tpe", *OTHERS]
# RandomSampler has no relative sampling, so that Optuna's own tests leave it out too; steering
# passes on what its base draws, while screening draws candidates of its own.
RELATIVE = ["tpe", pytest.param("gp", marks=pytest.mark.slow)]
PROBE = Probe(horizon=2)  # one probe a trial, since the cases take thousands of trials


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def edge_of_chaos(base: str, build: Quadratic, steer: str) -> EdgeOfChaosSampler:
    return EdgeOfChaosSampler(
        BASES[base](), build=build, probe=PROBE, steer=steer, rounds=1, rates_at_once=1, seed=0
    )


class TestBasic(BasicSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, Quadratic(), "lr")


class TestRelative(RelativeSamplerTestCase):
    @pytest.fixture(params=RELATIVE)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, Quadratic(), "lr")


class TestMultiObjective(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, Quadratic(), "lr")


@pytest.fixture
def build() -> Quadratic:
    return Quadratic(rate="x")


def has_numeric_x(request: pytest.FixtureRequest) -> bool:
    """Whether the case samples a number called x from more than one value."""
    name, case = request.function.__name__, request.node.callspec.params
    if name in ("test_categorical", "test_sample_relative_categorical"):
        return False
    if name in ("test_conditional_sample_independent", "test_conditional_parameter_objective"):
        return False  # x is a category there
    if name == "test_sample_single_distribution":
        return False  # there is no x
    method = case.get("suggest_method_x")
    if method is not None:
        return "suggest_categorical" not in method.__code__.co_names
    distribution = case.get("distribution")
    return not isinstance(distribution, optuna.distributions.CategoricalDistribution)


class Steered:
    """The same cases with x steered, which asserts that probes happened wherever x is a number."""

    @pytest.fixture(autouse=True)
    def _probes_happen(self, request: pytest.FixtureRequest, build: Quadratic) -> Iterator[None]:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "EdgeOfChaosSampler")
            yield
        assert bool(build.seen) == has_numeric_x(request)


class TestBasicSteered(Steered, BasicSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(
        self, request: pytest.FixtureRequest, build: Quadratic
    ) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, build, "x")


class TestRelativeSteered(Steered, RelativeSamplerTestCase):
    @pytest.fixture(params=RELATIVE)
    def sampler(
        self, request: pytest.FixtureRequest, build: Quadratic
    ) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, build, "x")


class TestMultiObjectiveSteered(Steered, MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(
        self, request: pytest.FixtureRequest, build: Quadratic
    ) -> Callable[[], BaseSampler]:
        return functools.partial(edge_of_chaos, request.param, build, "x")


def screening(base: str, build: Quadratic) -> ScreeningSampler:
    return ScreeningSampler(BASES[base](), build=build, probe=PROBE, candidates=2, seed=0)


class TestBasicScreening(BasicSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return functools.partial(screening, request.param, Quadratic(rate="x"))


class TestRelativeScreening(RelativeSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(
        self, request: pytest.FixtureRequest, build: Quadratic
    ) -> Iterator[Callable[[], BaseSampler]]:
        yield functools.partial(screening, request.param, build)
        assert build.seen


class TestMultiObjectiveScreening(MultiObjectiveSamplerTestCase):
    @pytest.fixture(params=ALL)
    def sampler(self, request: pytest.FixtureRequest) -> Callable[[], BaseSampler]:
        return functools.partial(screening, request.param, Quadratic(rate="x"))


MADE_ANEW: dict[str, Callable[[], BaseSampler]] = {
    "tpe": lambda: TPESampler(n_startup_trials=3, multivariate=True),
    "gp": lambda: GPSampler(n_startup_trials=3),
    "gp with constraints": lambda: GPSampler(
        n_startup_trials=3, constraints_func=lambda trial: [trial.params["y"] - 0.8]
    ),
    "cma-es": lambda: CmaEsSampler(n_startup_trials=3),
    "nsgaii": lambda: NSGAIISampler(population_size=3),
    "qmc": lambda: QMCSampler(),
}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(each, marks=[pytest.mark.slow] * each.endswith("constraints"))
        for each in MADE_ANEW
    ],
)
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_a_sampler_made_anew_draws_what_one_that_has_gone_on_draws(name: str) -> None:
    def ends(study: optuna.Study, n_trials: int) -> list[dict[str, float]]:
        def objective(trial: optuna.Trial) -> float:
            x, y = (trial.suggest_float(each, 0.0, 1.0) for each in "xy")
            return math.sin(9 * x) + (y - 0.3) ** 2 * math.cos(7 * x * y)

        study.optimize(objective, n_trials)
        return [trial.params for trial in study.trials]

    def sampler() -> BaseSampler:
        return SeededSampler(MADE_ANEW[name](), seed=0)

    at_once = ends(optuna.create_study(sampler=sampler()), 12)
    study = optuna.create_study()
    for _ in range(12):
        study.sampler = sampler()
        in_turn = ends(study, 1)
    assert in_turn == at_once
