"""Signatures of our own samplers and pruners, and ranges of arguments that signatures do not tell.

`lyapopt.search` imports Optuna and torch, so what a study file may say about its classes stands
here once more, in the form in which Optuna's signatures are read too; a test compares the two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["OWN_SOURCE", "RANGES", "RUNNER_ARGUMENTS", "Range"]

OWN_SOURCE = """
class EdgeOfChaosSampler:
    def __init__(self, base: BaseSampler | None = None, *, build: Build,
                 probe: Probe | None = None, steer: str = "lr",
                 target: float | str = "adaptive",
                 search_space: SearchSpace | None = None, rates_at_once: int = 3,
                 rounds: int = 3, reuse: float | None = None,
                 seed: int | None = None): ...

class ScreeningSampler:
    def __init__(self, base: BaseSampler | None = None, *, build: Build,
                 probe: Probe | None = None, candidates: int = 16,
                 rule: str | Callable = "forecast",
                 search_space: SearchSpace | None = None, seed: int | None = None): ...

class LyapunovPruner:
    def __init__(self, *, hot: float | None = 0.3, dead: bool = True, level: float = 0.95,
                 hot_quantile: float | None = None, n_startup_trials: int = 10,
                 wrapped: BasePruner | None = None): ...

class ForecastPruner:
    def __init__(self, *, k: int = 5, alpha: float = 0.05, wrapped: BasePruner | None = None,
                 seed: int = 0): ...

class GatedPercentilePruner:
    def __init__(self, *, percentile: float = 50.0, n_startup_trials: int = 8,
                 wrapped: BasePruner | None = None): ...
"""

RUNNER_ARGUMENTS = frozenset({"build", "probe", "search_space", "base_sampler"})
"""What the runner fills in, and a study file therefore need not say."""


@dataclass(frozen=True)
class Range:
    """A condition on an argument, and what it expects in words."""

    expected: str
    holds: Callable[[Any], bool]


_PERCENT = Range("a number between 0 and 100", lambda v: 0 <= v <= 100)
_NOT_NEGATIVE = Range("a number of at least 0", lambda v: v >= 0)
_POSITIVE = Range("a number of at least 1", lambda v: v >= 1)
_AT_LEAST_TWO = Range("a number of at least 2", lambda v: v >= 2)
_OPEN_UNIT = Range("a number between 0 and 1, both excluded", lambda v: 0 < v < 1)

RANGES: dict[tuple[str, str], Range] = {
    ("EdgeOfChaosSampler", "target"): Range(
        "adaptive, or a number above 0: nats per step, such as 0.01",
        lambda v: v == "adaptive" or (not isinstance(v, str) and v > 0),
    ),
    ("EdgeOfChaosSampler", "rates_at_once"): _POSITIVE,
    ("EdgeOfChaosSampler", "rounds"): _POSITIVE,
    ("EdgeOfChaosSampler", "reuse"): _NOT_NEGATIVE,
    ("ScreeningSampler", "candidates"): _POSITIVE,
    ("ScreeningSampler", "rule"): Range(
        "forecast, paper, or the import path of a function (package.module:name)",
        lambda v: v in ("forecast", "paper") or ":" in v,
    ),
    ("LyapunovPruner", "hot"): Range(
        "a number above 0, in nats per step (or null: hot systems are kept)", lambda v: v > 0
    ),
    ("LyapunovPruner", "level"): _OPEN_UNIT,
    ("LyapunovPruner", "hot_quantile"): _OPEN_UNIT,
    ("LyapunovPruner", "n_startup_trials"): _POSITIVE,
    ("ForecastPruner", "k"): _POSITIVE,
    ("ForecastPruner", "alpha"): _OPEN_UNIT,
    ("GatedPercentilePruner", "percentile"): Range(
        "a number between 0 and 100, both excluded", lambda v: 0 < v < 100
    ),
    ("GatedPercentilePruner", "n_startup_trials"): _POSITIVE,
    ("PercentilePruner", "percentile"): _PERCENT,
    ("SuccessiveHalvingPruner", "reduction_factor"): _AT_LEAST_TWO,
    ("HyperbandPruner", "reduction_factor"): _AT_LEAST_TWO,
    ("PatientPruner", "patience"): _NOT_NEGATIVE,
    ("PatientPruner", "min_delta"): _NOT_NEGATIVE,
    **{
        (pruner, name): limit
        for pruner in ("MedianPruner", "PercentilePruner", "ThresholdPruner")
        for name, limit in (
            ("n_startup_trials", _NOT_NEGATIVE),
            ("n_warmup_steps", _NOT_NEGATIVE),
            ("interval_steps", _POSITIVE),
            ("n_min_trials", _POSITIVE),
        )
    },
}
