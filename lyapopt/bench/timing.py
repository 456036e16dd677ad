"""Rivals timed side by side, so that what else a machine does hits all alike; and their report."""

from __future__ import annotations

import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from statistics import median, quantiles
from typing import Any, Literal

import torch

from lyapopt import interruption

Clock = Callable[[], float]


@contextmanager
def temporary_folder() -> Iterator[str]:
    """A folder that is gone afterwards, also when a signal stops the process at once."""
    with (
        tempfile.TemporaryDirectory(prefix="lyapopt-bench-") as folder,
        interruption.at_once(lambda: shutil.rmtree(folder, ignore_errors=True)),
    ):
        yield folder


@dataclass(frozen=True)
class Spread:
    """A median and the quartiles around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The median and the quartiles of at least one value."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(median(values), low, high)


@dataclass(frozen=True)
class Timings:
    """Seconds of rivals in rounds.

    Attributes:
        seconds: For every rival its times in the order of rounds, per unit of its work.
    """

    seconds: Mapping[str, Sequence[float]]

    def spread(self, name: str) -> Spread:
        """Seconds per unit of one rival."""
        return Spread.of(self.seconds[name])

    def medians(self, *names: str, unit: Literal["s", "ms", "us"]) -> str:
        """Median times of rivals beside each other.

        Example:
            >>> Timings({"a": [0.004], "b": [0.002]}).medians("a", "b", unit="ms")
            '4 / 2 ms'
        """
        scale = {"s": 1, "ms": 1e3, "us": 1e6}[unit]
        return " / ".join(f"{self.spread(name).median * scale:.3g}" for name in names) + f" {unit}"

    def ratio(self, slow: str, fast: str) -> Spread:
        """Time of one rival in that of another, round by round.

        Example:
            >>> Timings({"a": [4.0, 6.0], "b": [2.0, 2.0]}).ratio("a", "b").median
            2.5
        """
        pairs = zip(self.seconds[slow], self.seconds[fast], strict=True)
        return Spread.of([a / b for a, b in pairs])


def interleave(
    rivals: Mapping[str, Callable[[], float]],
    rounds: int,
    seconds: float,
    clock: Clock = time.process_time,
) -> Timings:
    """Time rivals in turn.

    Args:
        rivals: Each does a piece of work and returns how many units it was.
        rounds: How often each has its turn.
        seconds: Least time of a turn; short pieces are repeated.
        clock: Processor time of this process by default, which other processes disturb least.
    """
    for work in rivals.values():  # caches, compilers
        work()
    found: dict[str, list[float]] = {name: [] for name in rivals}
    for _ in range(rounds):
        for name, work in rivals.items():
            start, units = clock(), 0.0
            while True:
                units += work()
                elapsed = clock() - start
                if elapsed >= seconds:
                    break
            found[name].append(elapsed / units)
    return Timings(found)


@dataclass(frozen=True)
class Row:
    """One statement that was measured.

    Attributes:
        group: What it is about.
        name: What was compared with what.
        measured: The ratio or the time.
        target: The number that it is held against; `None` where it is shown only.
        sense: Whether the target is a least or a largest value.
        unit: `x` for ratios, else `ms` or `s`.
        detail: Times behind a ratio.
    """

    group: str
    name: str
    measured: Spread
    target: float | None = None
    sense: Literal["at least", "at most"] = "at least"
    unit: str = "x"
    detail: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the median meets the target."""
        if self.target is None:
            return None
        value = self.measured.median
        return value >= self.target if self.sense == "at least" else value <= self.target


@dataclass(frozen=True)
class Report:
    """All rows, and what they were measured on."""

    rows: Sequence[Row]
    notes: Sequence[str]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
            "notes": list(self.notes),
            "rows": [{**asdict(row), "holds": row.holds} for row in self.rows],
        }
