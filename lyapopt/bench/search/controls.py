"""Samplers that show whether the benchmark can tell good from bad."""

from __future__ import annotations

from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import RandomSampler
from optuna.trial import FrozenTrial

from lyapopt.bench.search.replay import DrawsSeeds, Replay


class KnowingSampler(RandomSampler, DrawsSeeds):
    """Knows the table: proposes the configuration of a rank, 0 being the best.

    Args:
        replay: The table.
        rank: Which one; -1 is the worst.
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
        """What is best, or worst."""
        return self._answer[param_name]
