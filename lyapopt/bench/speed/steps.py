"""Steps: lyapopt against the eager loop and a hand-written batched product."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lyapopt.bench.speed.rivals import batched_matmul, eager, stacked
from lyapopt.bench.speed.workloads import Workload
from lyapopt.bench.timing import Row, Timings, interleave

DIGITS = Workload((64, 32, 32, 10), 64, systems=16, classes=True)


@dataclass(frozen=True)
class Case:
    """A workload and what its ratios are held against.

    Attributes:
        eager: Least speed-up over the eager loop.
        matmul: Largest share of the hand-written version's time.
        compiled: Least speed-up over the eager loop when compiled.
    """

    name: str
    workload: Workload
    eager: float
    matmul: float | None
    compiled: float | None = None


CASES = (
    Case("P=33, B=4, 544 copies", Workload((2, 8, 1), 4, 32, 17), 80, 1.8, 150),
    Case("P=33, B=256, 544 copies", Workload((2, 8, 1), 256, 32, 17), 6, 1.3),
    Case(
        "P=5634, B=256, 136 copies",
        Workload((20, 64, 64, 2), 256, 8, 17, classes=True),
        1.2,
        1.3,
    ),
    Case("digits mlp 32-32, B=64, 16 systems", DIGITS, 1.7, 1.3, 4),
)


def step_rows(rounds: int, seconds: float, compiles: bool) -> Iterator[Row]:
    """Ratios of times per trajectory-step."""
    for case in CASES:
        training = case.workload.training(0, case.workload.data())
        rivals = {
            "eager": eager(training, steps=10),
            "lyapopt": stacked(case.workload),
            "matmul": batched_matmul(case.workload),
        }
        if compiles:
            rivals["compiled"] = stacked(case.workload, "on")
        timings = interleave(rivals, rounds, seconds)
        yield from _rows_of_case(case, timings, compiles)
    yield from _single_rows(rounds, seconds)


def _rows_of_case(case: Case, timings: Timings, compiles: bool) -> Iterator[Row]:
    measured: list[tuple[str, str, float | None, float | None]] = [
        ("a step", "lyapopt", case.eager, case.matmul)
    ]
    if compiles:
        measured.append(("a compiled step", "compiled", case.compiled, 1.0))
    for group, ours, eager_target, matmul_target in measured:
        yield Row(
            group,
            f"{case.name}: eager / lyapopt",
            timings.ratio("eager", ours),
            eager_target,
            detail=timings.medians("eager", ours, unit="us"),
        )
        yield Row(
            group,
            f"{case.name}: lyapopt / hand-written",
            timings.ratio(ours, "matmul"),
            matmul_target,
            "at most",
            detail=timings.medians(ours, "matmul", unit="us"),
        )


def _single_rows(rounds: int, seconds: float) -> Iterator[Row]:
    for name, workload in (
        ("P=33, B=4", Workload((2, 8, 1), 4, 1)),
        ("digits mlp 32-32, B=64", Workload((64, 32, 32, 10), 64, 1, classes=True, examples=1408)),
    ):
        training = workload.training(0, workload.data())
        rivals = {"eager": eager(training, 20), "lyapopt": stacked(workload, steps=20)}
        timings = interleave(rivals, rounds, seconds)
        yield Row(
            "a single system",
            f"{name}: lyapopt / eager",
            timings.ratio("lyapopt", "eager"),
            1.1,
            "at most",
            detail=timings.medians("lyapopt", "eager", unit="us"),
        )
