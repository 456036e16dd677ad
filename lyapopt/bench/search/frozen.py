"""Settings of our methods in the benchmark, frozen before the held-out cases were looked at.

Frozen on 2026-11-23 on the nine held-in cases (`lyapopt.bench.tables.cases.HELD_IN`) by
`python -m lyapopt.bench.search.tuning`. What was tried, and what it gave, is in
`studies/RESULTS.md`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Target = float | Literal["adaptive"]


@dataclass(frozen=True)
class Steered:
    """How rates are steered.

    Attributes:
        horizon, neighbours: Of the probe.
        target: Exponent, nats per step.
        rates_at_once, rounds: Of the search along a line.
    """

    horizon: int
    neighbours: int
    target: Target
    rates_at_once: int
    rounds: int


@dataclass(frozen=True)
class Ranked:
    """How steered candidates are ranked.

    Attributes:
        steered: How their rates are found.
        part: Of a full training that every one is trained for.
        share: Of the budget, in full trainings, that is the number of those trained to the end.
    """

    steered: Steered
    part: float
    share: float


@dataclass(frozen=True)
class Screened:
    """How candidates are screened.

    Attributes:
        horizon, neighbours: Of the probe.
        candidates: Probed for each trial.
    """

    horizon: int
    neighbours: int
    candidates: int


STEERED = Steered(horizon=10, neighbours=1, target="adaptive", rates_at_once=1, rounds=3)
RANKED = Ranked(STEERED, part=1 / 8, share=0.5)
SCREENED = Screened(horizon=10, neighbours=1, candidates=8)
HOT = 0.3
FORECAST_K, FORECAST_ALPHA = 5, 0.05
