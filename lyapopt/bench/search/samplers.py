"""Samplers to compare with: rates that a search finds for every network, and a control.

A search line is the configurations of one network that differ in their rate alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, RandomSampler
from optuna.trial import FrozenTrial, TrialState

from lyapopt.bench.range_test import step_of_lowest_loss
from lyapopt.bench.search.replay import DrawsSeeds, Replay

_RANGE_TEST_DIVISOR = 10.0

FindRate = Callable[[Replay, int], float]
"""From a replay, which is charged, and the first configuration of a search line to a rate."""


class LineSearchSampler(BaseSampler):
    """Draws everything at random but the rate, which a search along a line finds.

    Args:
        replay: The table, and whose budget is charged.
        find: The search.
    """

    def __init__(self, replay: Replay, find: FindRate) -> None:
        self._base = RandomSampler()
        self._replay = replay
        self._find = find

    @property
    def base(self) -> BaseSampler:
        """The sampler of everything else."""
        return self._base

    def infer_relative_search_space(
        self, study: optuna.Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Nothing: every parameter is drawn by itself."""
        return {}

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        return {}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The rate by search, everything else at random."""
        if param_name != "lr":
            return self._base.sample_independent(study, trial, param_name, param_distribution)
        first = self._replay.cell_of({**trial.params, "lr": self._replay.table.case.rates[0]})
        return self._find(self._replay, first)

    def after_trial(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Learn nothing."""


def range_test(replay: Replay, first: int) -> float:
    """A training whose rate rises at each step; the rate of the lowest loss, divided by ten."""
    table = replay.table
    losses = table.range_losses[table.case.line_of(first)]
    replay.charge(len(losses))
    rate = float(table.range_rates[step_of_lowest_loss(losses)]) / _RANGE_TEST_DIVISOR
    return max(rate, table.case.rates[0])


def ternary_search(replay: Replay, first: int, steps: int = 10) -> float:
    """The rate of the lowest training loss after a few steps, by thirds of the range.

    The loss is the mean over the last half of the steps; each rate costs its steps, once.
    """
    table = replay.table
    known: dict[int, float] = {}

    def badness(place: int) -> float:
        if place not in known:
            replay.charge(steps)
            late = table.losses[first + place, steps // 2 : steps]
            known[place] = float(late.mean()) if np.isfinite(late).all() else np.inf
        return known[place]

    low, high = 0, len(table.case.rates) - 1
    while high - low > 2:
        left, right = low + (high - low) // 3, high - (high - low) // 3
        if badness(left) <= badness(right):
            high = (
                right - 1 if badness(left) < badness(right) or badness(right) == np.inf else right
            )
        else:
            low = left + 1
    best = min(range(low, high + 1), key=badness)
    return table.case.rates[best]


class KnowingSampler(RandomSampler, DrawsSeeds):
    """Knows the table: proposes the configuration of a rank, 0 being the best.

    Args:
        replay: The search whose table it knows.
        rank: From the best on; -1 is the worst.
    """

    def __init__(self, replay: Replay, rank: int) -> None:
        super().__init__()
        order = np.argsort(replay.table.final, kind="stable")
        case = replay.table.case
        params = case.cells[int(order[rank])]
        self._answer = {**params, "init_seed": case.axes["init_seed"].index(params["init_seed"])}

    def sample_independent(
        self,
        study: optuna.Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """The value in the configuration of that rank."""
        return self._answer[param_name]
