"""What asking for a trial takes when a study has many: our samplers against TPE alone."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, TPESampler

from lyapopt.bench.timing import Row, Spread
from lyapopt.probe import Probe
from lyapopt.search import EdgeOfChaosSampler, ScreeningSampler, screening, steering
from lyapopt.search.probing.probes import Probed, probe_all
from lyapopt.search.screening import SCREENING, ScreenedCandidate, ScreeningRecord
from lyapopt.search.steering import STEERING, SteeringRecord
from lyapopt.tasks.builder import TaskBuilder

TRIALS = 1000
SPACE: dict[str, BaseDistribution] = {
    "weight_decay": FloatDistribution(1e-6, 1e-1, log=True),
    "momentum": FloatDistribution(0.0, 0.99),
    "activation": CategoricalDistribution(["linear", "tanh", "relu"]),
    "lr": FloatDistribution(1e-4, 10.0, log=True),
}
_PROBE = Probe(horizon=2)  # the probe itself is not what is measured
_TARGET = 1.5


def ask_rows(rounds: int) -> Iterator[Row]:
    """Time of `ask`, less that of its probes, in that of TPE."""
    build = TaskBuilder("xor", {"steps": 40, "optimizer": "sgd"})
    steer: dict[str, Any] = {"rounds": 1, "rates_at_once": 1}
    samplers: dict[str, Callable[[], BaseSampler]] = {
        "edge-of-chaos": lambda: EdgeOfChaosSampler(
            TPESampler(seed=0), build=build, probe=_PROBE, seed=0, **steer
        ),
        "screening, 16 candidates": lambda: ScreeningSampler(
            TPESampler(seed=0), build=build, probe=_PROBE, seed=0
        ),
    }
    for name, make in samplers.items():
        ours, plain = _study(make()), _study(TPESampler(seed=0))
        ratios, times = [], []
        for _ in range(max(5, rounds)):
            (rival, _), (own, probes) = _ask(plain), _ask(ours)
            beyond = own - probes
            ratios.append(beyond / rival)
            times.append((1e3 * beyond, 1e3 * rival))
        own_ms, rival_ms = (Spread.of([pair[k] for pair in times]).median for k in (0, 1))
        detail = f"{own_ms:.3g} / {rival_ms:.3g} ms"
        what = f"{name}, beyond its probes, in asks of TPE at {TRIALS} trials"
        yield Row("asking", what, Spread.of(ratios), _TARGET, "at most", detail=detail)


def _study(sampler: BaseSampler) -> optuna.Study:
    """A study of many trials, which have been steered and screened, asked once."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=sampler)
    study.add_trials(_trials())
    _ask(study)  # whatever is kept from trial to trial is read now
    return study


def _trials() -> Iterator[optuna.trial.FrozenTrial]:
    draw = random.Random(0)
    for _ in range(TRIALS):
        lr = 10 ** draw.uniform(-4, 1)
        params = {
            "weight_decay": 10 ** draw.uniform(-6, -1),
            "momentum": draw.uniform(0, 0.99),
            "activation": draw.choice(["linear", "tanh", "relu"]),
            "lr": lr,
        }
        probes = tuple((10.0**k, 0.01 * k, "edge") for k in range(-4, 2))
        steered = SteeringRecord("lr", lr, 0.01, 0.01, "crossed", lr, "SGD", 240, 240, probes)
        candidate = ScreenedCandidate(params, draw.random(), 1.0, draw.random(), "edge")
        screened = ScreeningRecord("forecast", 0, (candidate,) * 16, 640, 640)
        yield optuna.trial.create_trial(
            params=params,
            distributions=SPACE,
            value=draw.random(),
            user_attrs={
                STEERING: steered.as_attribute(),
                SCREENING: screened.as_attribute(),
            },
        )


def _ask(study: optuna.Study) -> tuple[float, float]:
    """Seconds of one `ask`, and how many of them went into probes."""
    with _timed_probes() as spent:
        start = time.process_time()
        trial = study.ask(SPACE)
        seconds = time.process_time() - start
    study.tell(trial, 0.5)
    return seconds, sum(spent)


@contextmanager
def _timed_probes() -> Iterator[list[float]]:
    """Seconds of every call of `probe_all` by a sampler meanwhile."""
    spent: list[float] = []

    def timed(*args: Any) -> list[Probed]:
        start = time.process_time()
        found = probe_all(*args)
        spent.append(time.process_time() - start)
        return found

    # Imported names of modules: to mypy they are no attributes that may be set.
    users = (steering.search, screening.sampler)
    for module in users:
        module.probe_all = timed  # type: ignore[attr-defined]  # see above
    try:
        yield spent
    finally:
        for module in users:
            module.probe_all = probe_all  # type: ignore[attr-defined]  # see above
