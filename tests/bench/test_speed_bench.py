"""The bench measures what it says: rivals do the same work, and ratios are of that work."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch

from lyapopt.bench.speed import asks as speed_asks
from lyapopt.bench.speed.rivals import batched_matmul, eager, exponent, stacked
from lyapopt.bench.speed.steps import CASES
from lyapopt.bench.speed.studies import Stopwatch
from lyapopt.bench.speed.suite import QUICK, measure_speed
from lyapopt.bench.speed.workloads import Workload
from lyapopt.bench.timing import Report, Row, Spread, Timings, interleave
from lyapopt.search import screening, steering
from lyapopt.search.probing.probes import probe_all

torch.set_num_threads(1)


def test_rivals_take_turns_and_are_timed_per_unit() -> None:
    order: list[str] = []

    def rival(name: str, units: float) -> float:
        order.append(name)
        return units

    ticks = itertools.count()
    timings = interleave(
        {"a": lambda: rival("a", 1.0), "b": lambda: rival("b", 4.0)},
        rounds=3,
        seconds=0.5,
        clock=lambda: float(next(ticks)),
    )
    assert order == ["a", "b"] * 4  # once to warm up
    assert timings.seconds == {"a": [1.0] * 3, "b": [0.25] * 3}
    assert timings.ratio("a", "b") == Spread(4.0, 4.0, 4.0)


def test_a_ratio_is_taken_round_by_round() -> None:
    timings = Timings({"a": [1.0, 10.0, 100.0], "b": [1.0, 5.0, 50.0]})
    assert timings.ratio("a", "b").median == 2.0


def test_short_work_is_repeated_until_the_turn_is_over() -> None:
    ticks = itertools.count()
    timings = interleave(
        {"a": lambda: 1.0}, rounds=1, seconds=2.5, clock=lambda: float(next(ticks))
    )
    assert timings.seconds == {"a": [1.0]}


@pytest.mark.parametrize(
    ("value", "sense", "holds"), [(2.0, "at least", True), (2.0, "at most", False)]
)
def test_a_target_is_met_in_its_own_sense(value: float, sense: str, holds: bool) -> None:
    row = Row("group", "name", Spread(value, value, value), 1.5, sense)  # type: ignore[arg-type]
    assert row.holds is holds


def test_a_report_is_plain_data() -> None:
    report = Report([Row("group", "name", Spread(1.0, 0.5, 2.0), 0.5)], ["a note"])
    read = json.loads(json.dumps(report.as_dict()))
    assert read["rows"][0]["measured"] == {"median": 1.0, "low": 0.5, "high": 2.0}
    assert read["rows"][0]["holds"] is True
    assert read["threads"] == 1


def test_workloads_have_the_sizes_that_they_are_named_for() -> None:
    assert [case.workload.weights for case in CASES[:3]] == [33, 33, 5634]
    assert [case.workload.rows for case in CASES] == [544, 544, 136, 16]


@pytest.mark.parametrize("classes", [True, False])
def test_rivals_count_the_steps_that_they_make(classes: bool) -> None:
    workload = Workload((3, 4, 2), 8, systems=2, trajectories=3, classes=classes, examples=20)
    assert eager(workload.training(0, workload.data()), steps=5)() == 5
    assert stacked(workload, steps=5)() == 30
    assert batched_matmul(workload)() == 6
    assert exponent(Workload((3, 4, 2), 8, 1, 3), horizon=4)() == 1


def test_time_counts_for_the_innermost_part() -> None:
    watch = Stopwatch()
    with watch.running("outer"), watch.running("inner"):
        assert watch.is_in("outer")
        assert watch.is_in("inner")
    assert set(watch.seconds) == {"outer", "inner"}
    assert not watch.is_in("outer")


def test_startup_is_measured_on_real_processes(tmp_path: Path) -> None:
    report = measure_speed(QUICK, lambda path: None, parts=["startup"])
    assert [row.name for row in report.rows] == [
        "lyapopt --help",
        "lyapopt validate",
        "import lyapopt",
    ]
    assert all(row.measured.median > 0 for row in report.rows)


def test_asks_are_timed_beside_tpe_and_less_their_probes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed_asks, "TRIALS", 40)
    rows = list(speed_asks.ask_rows(1))
    assert [row.name.split(",")[0] for row in rows] == ["edge-of-chaos", "screening"]
    assert all(row.sense == "at most" and 0 < row.measured.median < 100 for row in rows)
    assert screening.sampler.probe_all is steering.search.probe_all is probe_all
