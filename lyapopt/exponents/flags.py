"""Flags: what a reader of an exponent should know before trusting it.

A flag describes the estimate, a verdict (see `lyapopt.probe`) the system.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

DIVERGED = "diverged"
COLLAPSED = "collapsed"
UNCHANGED = "unchanged"
DEAD = "dead"
PRECISION = "precision"
NONLINEAR = "nonlinear"
NOT_CONVERGED = "not-converged"
UNALIGNED = "unaligned"
NO_INTERVAL = "no-interval"
TRUNCATED = "truncated"


@dataclass(frozen=True)
class Flag:
    """One thing to know of the estimate of one system.

    Attributes:
        name: One of

            - `diverged`: the state left the numbers; what came before it is used;
            - `collapsed`: a separation became exactly zero (or zero to rounding): exponent `-inf`;
            - `unchanged`: separations stayed equal to rounding;
            - `dead`: so did the weights themselves: no gradient reaches them;
            - `precision`: rounding is not small against the separation or the exponent; segments
              in which it swallowed a separation are left out;
            - `nonlinear`: separations left the regime in which growth does not depend on them;
            - `not-converged`: the growth rate still drifts, so that the value is one of this
              horizon and not the asymptotic exponent;
            - `unaligned`: neighbours have not turned into one direction, and grow at rates that
              differ so much that it matters what is averaged (the paper's mean drifts upwards);
            - `no-interval`: too few segments to average over in time;
            - `truncated`: the dimension needs more exponents than were asked for.
        detail: What happened, in words.
        step: The step at which it happened, counted from the start of the measurement (negative
            in the burn-in).
    """

    name: str
    detail: str
    step: int | None = None


def has_flag(flags: Sequence[Sequence[Flag]], name: str) -> list[bool]:
    """Which systems have the flag `name`."""
    return [any(flag.name == name for flag in of_system) for of_system in flags]


def counted(flags: Sequence[Sequence[Flag]]) -> dict[str, int]:
    """How many systems have each of the flags, most first.

    Example:
        >>> counted([[Flag(DEAD, "no gradient"), Flag(UNCHANGED, "equal")], [Flag(DEAD, "too")]])
        {'dead': 2, 'unchanged': 1}
    """
    return dict(Counter(flag.name for of_system in flags for flag in of_system).most_common())
