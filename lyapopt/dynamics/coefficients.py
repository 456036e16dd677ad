"""The coefficients of an update rule at every step, for all systems of a stack."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.placement import moved
from lyapopt.dynamics.system import System
from lyapopt.dynamics.transforms import outside_transforms
from lyapopt.dynamics.update_rules import UpdateRule
from lyapopt.errors import NotStackableError

_WINDOW = 128  # steps that are computed together


class CoefficientWindow:
    """Coefficients of step `t`, computed for a window of steps at once.

    Args:
        systems: The systems of the stack.
        rule: Their update rule.
        like: A tensor of the state's dtype and device.
    """

    def __init__(self, systems: Sequence[System], rule: UpdateRule, like: Tensor) -> None:
        self._systems = systems
        self._rule = rule
        self._like = like
        self._group_of_weight = (
            systems[0].per_weight(systems[0].group_of_weight).to(like.device)
            if len(systems[0].training.optimizer.param_groups) > 1
            else None
        )
        self._updates = torch.tensor([s.updates for s in systems], dtype=torch.float64)
        self._window = range(0)
        self._coefficients: list[dict[str, Tensor]] = []

    def at(self, t: int) -> dict[str, Tensor]:
        """Coefficients by name, each `(systems, 1, weights)`, or 1 for all weights of one group.

        Raises:
            TrainingError: If a schedule has ended before `t`.
            NotStackableError: If a schedule turns on what the rule has left out.
        """
        if t not in self._window:
            with outside_transforms():
                self._fill(t - t % _WINDOW, t)
        now = self._coefficients[t - self._window.start]
        if self._group_of_weight is None:
            return now
        return {name: c.index_select(-1, self._group_of_weight) for name, c in now.items()}

    def _fill(self, start: int, t: int) -> None:
        tables = [system.table.window(start, start + _WINDOW, t) for system in self._systems]
        steps = min(len(next(iter(table.values()))) for table in tables)
        h = {name: torch.stack([k[name][:steps] for k in tables], 1) for name in tables[0]}
        for name in self._rule.left_out:
            if h[name].count_nonzero():
                raise NotStackableError(
                    f"the schedule turns on {name}, which is 0 in the optimizer; start from a "
                    "value above 0"
                )
        elapsed = torch.arange(start + 1, start + steps + 1, dtype=torch.float64)
        h["count"] = self._updates + elapsed.view(-1, 1, 1)
        self._window = range(start, start + steps)
        columns = {
            name: moved(c.unsqueeze(2), self._like.device, self._like.dtype).unbind(0)
            for name, c in self._rule.coefficients(h).items()
        }
        # Taken apart here, so that a step makes no views of its own.
        self._coefficients = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]
