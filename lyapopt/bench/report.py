"""Measured ratios beside their targets."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lyapopt.bench.timing import Spread


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
        import torch

        return {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "processor": platform.processor() or platform.machine(),
            "notes": list(self.notes),
            "rows": [{**asdict(row), "holds": row.holds} for row in self.rows],
        }
