"""Exponents: lyapopt against the eager loop, trajectory by trajectory, and deep-lyapunov."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn

from lyapopt.bench.speed.rivals import Work, deep_lyapunov, eager, exponent, stacked
from lyapopt.bench.speed.workloads import Workload
from lyapopt.bench.timing import Row, interleave

_STEPS = 437
_POINTS, _NEIGHBOURS = 32, 16
_SMALL = Workload(
    (1, 8, 4, 2),
    32,
    _POINTS,
    1 + _NEIGHBOURS,
    examples=32 * _STEPS,
    activation=nn.ReLU,
)
_EPOCHS = 200
_OF_RIVAL = (
    (Workload((2, 8, 2), 256, 1, 17, classes=True), 20),
    (Workload((2, 32, 32, 2), 256, 1, 17, classes=True), 8),
    (Workload((20, 64, 64, 2), 256, 1, 17, classes=True), 250),
)


def exponent_rows(rounds: int, seconds: float, compiles: bool, notes: list[str]) -> Iterator[Row]:
    """Ratios of times per reference point, or per exponent."""
    training = _SMALL.training(0, _SMALL.data())
    rivals = {
        "eager": _points(eager(training, _STEPS)),
        "lyapopt": _points(stacked(_SMALL, steps=_STEPS)),
    }
    if compiles:
        rivals["compiled"] = _points(stacked(_SMALL, "on", _STEPS))
    timings = interleave(rivals, max(3, rounds // 3), seconds)
    for name in list(rivals)[1:]:
        yield Row(
            "neighbours",
            f"{_POINTS} points x {_NEIGHBOURS} neighbours, P=62, B=32, {_STEPS} steps"
            + (": compiled" if name == "compiled" else ""),
            timings.ratio("eager", name),
            150,
            detail=timings.medians("eager", name, unit="ms"),
        )
    for workload, target in _OF_RIVAL:
        rival = deep_lyapunov(workload, _EPOCHS)
        if rival is None:
            notes.append("deep-lyapunov is not installed: pip install deep-lyapunov")
            return
        timings = interleave(
            {"deep-lyapunov": rival, "lyapopt": exponent(workload, _EPOCHS)}, 3, 0.0
        )
        yield Row(
            "neighbours",
            f"17 trajectories x {_EPOCHS} steps, P={workload.weights}: deep-lyapunov / lyapopt",
            timings.ratio("deep-lyapunov", "lyapopt"),
            target,
            detail=timings.medians("deep-lyapunov", "lyapopt", unit="ms"),
        )


def _points(work: Work) -> Work:
    """The same work, counted in reference points with all their neighbours and steps."""
    return lambda: work() / _STEPS / (1 + _NEIGHBOURS)
