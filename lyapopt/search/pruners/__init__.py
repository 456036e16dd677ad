"""Pruners that read the verdicts of short measurements."""

from lyapopt.search.pruners.decision import DecidingPruner, WrappingPruner, decisions_of
from lyapopt.search.pruners.forecast import ForecastPruner
from lyapopt.search.pruners.gated_percentile import GatedPercentilePruner
from lyapopt.search.pruners.lyapunov import LyapunovPruner

__all__ = [
    "DecidingPruner",
    "ForecastPruner",
    "GatedPercentilePruner",
    "LyapunovPruner",
    "WrappingPruner",
    "decisions_of",
]
