"""Pruners that read the verdicts of short measurements."""

from lyapopt.search.pruners.decision import DecidingPruner, WrappingPruner, decisions_of
from lyapopt.search.pruners.lyapunov import LyapunovPruner

__all__ = [
    "DecidingPruner",
    "LyapunovPruner",
    "WrappingPruner",
    "decisions_of",
]
