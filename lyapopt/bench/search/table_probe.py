"""A probe that answers from a table, so that our samplers run on it as they are; and placebos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyapopt.bench.search.replay import Replay
from lyapopt.bench.tables.measures import measurements
from lyapopt.bench.tables.table import Table
from lyapopt.dynamics import Training
from lyapopt.probe import Measurement, Probe
from lyapopt.search.probing.probes import Probed

Placebo = Callable[[Table, int, int], Measurement]
"""From a table, a configuration and the seed of a replay to a measurement that tells nothing."""


@dataclass(frozen=True, kw_only=True)
class TableProbe(Probe):
    """Answers with what was recorded, and charges what it would have cost.

    Args:
        replay: The table, and whose budget is charged.
        placebo: Replaces the separations by some that tell nothing.
    """

    replay: Replay
    placebo: Placebo | None = None

    def probe_params(self, params: Sequence[Mapping[str, Any]]) -> list[Probed]:
        """Measurements of configurations, rates snapped to the grid."""
        found = []
        for one in params:
            cell = self.replay.cell_of(one)
            measured = measurements(self.replay.table, self.neighbours, self.horizon)[cell]
            self.replay.charge(measured.gradient_evaluations)
            if self.placebo is not None:
                substitute = self.placebo(self.replay.table, cell, self.replay.seed)
                measured = replace(
                    measured,
                    exponent=substitute.exponent,
                    log_separations=substitute.log_separations,
                    verdict=substitute.verdict,
                    losses=substitute.losses,
                )
            found.append(Probed(measured, None, self.replay.table.facts.optimizer))
        return found


def never_build(params: Mapping[str, Any]) -> Training:
    """Stands where a sampler wants a build function: on a table nothing is built."""
    raise AssertionError("a table's probe builds nothing")


@dataclass(frozen=True)
class Shuffled:
    """Every configuration has the measurement of a random other one."""

    horizon: int
    neighbours: int

    def __call__(self, table: Table, cell: int, seed: int) -> Measurement:
        """That of the configuration which a random permutation puts in place of `cell`."""
        order = np.random.default_rng(seed).permutation(len(table.final))
        return measurements(table, self.neighbours, self.horizon)[int(order[cell])]


@dataclass(frozen=True)
class AnotherNet:
    """Every configuration has the measurement of another network at the same rate."""

    horizon: int
    neighbours: int

    def __call__(self, table: Table, cell: int, seed: int) -> Measurement:
        """That of the search line which a random permutation of them puts in its place."""
        rates = len(table.case.rates)
        lines: NDArray[np.int64] = np.random.default_rng(seed).permutation(
            len(table.final) // rates
        )
        other = int(lines[cell // rates]) * rates + cell % rates
        return measurements(table, self.neighbours, self.horizon)[other]


@dataclass(frozen=True)
class LogRate:
    """The exponent is a function of the rate alone, that crosses the target in the middle of its
    range.
    """

    horizon: int
    neighbours: int

    def __call__(self, table: Table, cell: int, seed: int) -> Measurement:
        """A separation that grows by more the larger the rate."""
        rates = len(table.case.rates)
        place = (cell % rates) / (rates - 1)
        exponent = _AT_THE_MIDDLE * 10 ** (4 * (place - 0.5))
        measured = measurements(table, self.neighbours, self.horizon)[cell]
        steps = np.arange(self.horizon + 1, dtype=np.float64)
        growth = np.repeat((exponent * steps)[:, None], self.neighbours, axis=1)
        losses = np.full(self.horizon, 1.0)
        return replace(measured, exponent=exponent, log_separations=growth, losses=losses)


_AT_THE_MIDDLE = 0.005
