"""Hyperparameters as functions of the step, and the coefficients of update rules made from them."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor

from lyapopt.dynamics.execution import outside_transforms, to_device
from lyapopt.dynamics.training import Scheduler
from lyapopt.dynamics.update_rules import UpdateRule
from lyapopt.errors import NotStackableError, TrainingError

_WINDOW = 128  # steps whose coefficients are computed together


class HyperparameterTable:
    """The numbers of one optimiser at every step, one row a step, as the schedule sets them.

    A `torch.optim.lr_scheduler` is run ahead on a copy of the optimiser's parameter groups, so that
    any schedule works that does not look at losses, cyclic momentum included; the user's own
    objects are not touched.

    Args:
        optimizer: Where the parameter groups are read from.
        scheduler: Stepped once per optimiser step; or a function from the step to a factor on the
            learning rate; or `None`.
        names: Numeric hyperparameters to keep, in torch's names (`beta1` and `beta2` for `betas`).
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        scheduler: Scheduler | None,
        names: tuple[str, ...],
    ) -> None:
        self._names = names
        self._rows: list[list[list[float]]] = []
        self._source = _rows(optimizer, scheduler, names)
        self._is_constant = scheduler is None
        self._ended: Exception | None = None

    def window(
        self, start: int, stop: int, needed: int
    ) -> dict[str, Float64[Tensor, "steps groups"]]:
        """The numbers by name at steps `start .. stop - 1`, or up to the schedule's end.

        Raises:
            TrainingError: If the schedule ends before the step `needed`.
        """
        if self._is_constant:
            self._run_ahead(1)
            rows = torch.tensor(self._rows, dtype=torch.float64).expand(stop - start, -1, -1)
        else:
            self._run_ahead(stop)
            if needed >= len(self._rows):
                raise TrainingError(
                    f"the learning-rate schedule ends after {len(self._rows)} steps: {self._ended}"
                ) from self._ended
            rows = torch.tensor(self._rows[start:stop], dtype=torch.float64)
        return dict(zip(self._names, rows.unbind(-1), strict=True))

    def _run_ahead(self, stop: int) -> None:
        while len(self._rows) < stop and self._ended is None:
            try:
                self._rows.append(next(self._source))
            except Exception as error:  # whatever the schedule raises ends it (OneCycleLR does)
                self._ended = error
        if not self._rows:
            raise TrainingError(f"the schedule failed: {self._ended}") from self._ended


class CoefficientWindow:
    """Coefficients of step `t`, computed for a window of steps at once.

    Args:
        tables: Hyperparameters of every system.
        updates: Updates that every optimiser has already made, by parameter group.
        group_of_weight: Parameter group of every weight; `None` where there is one group.
        rule: The update rule of all systems.
        like: A tensor of the state's dtype and device.
    """

    def __init__(
        self,
        tables: Sequence[HyperparameterTable],
        updates: Sequence[tuple[int, ...]],
        group_of_weight: Int[Tensor, " weights"] | None,
        rule: UpdateRule,
        like: Tensor,
    ) -> None:
        self._tables = tables
        self._updates = torch.tensor(updates, dtype=torch.float64)
        self._group_of_weight = group_of_weight
        self._rule = rule
        self._like = like
        self._window = range(0)
        self._coefficients: list[dict[str, Tensor]] = []

    def at(self, t: int) -> dict[str, Float[Tensor, "systems 1 weights"]]:
        """Coefficients by name; one number stands for all weights if there is one group.

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
        windows = [table.window(start, start + _WINDOW, t) for table in self._tables]
        steps = min(len(next(iter(window.values()))) for window in windows)
        h = {name: torch.stack([k[name][:steps] for k in windows], 1) for name in windows[0]}
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
            name: to_device(c.unsqueeze(2), self._like.device, self._like.dtype).unbind(0)
            for name, c in self._rule.coefficients(h).items()
        }
        # Taken apart here, so that a step makes no views of its own.
        self._coefficients = [
            dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)
        ]


def _number(group: Mapping[str, Any], name: str) -> float:
    """One number of a parameter group; `beta1` and `beta2` are the parts of `betas`."""
    if name in ("beta1", "beta2"):
        return float(group["betas"][name == "beta2"])
    return float(group[name])


def _rows(
    optimizer: torch.optim.Optimizer, scheduler: Scheduler | None, names: tuple[str, ...]
) -> Iterator[list[list[float]]]:
    """Yield the numbers of every group, step after step, without end."""
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        step = 0
        while True:
            factor = 1.0 if scheduler is None else float(scheduler(step))
            yield [
                [_number(g, n) * (factor if n == "lr" else 1.0) for n in names]
                for g in optimizer.param_groups
            ]
            step += 1
    ahead = _detached_copy(scheduler, optimizer)
    while True:
        yield [[_number(g, n) for n in names] for g in ahead.optimizer.param_groups]
        with warnings.catch_warnings():
            # The copy steps without an optimiser step before it, which torch warns about.
            warnings.simplefilter("ignore")
            ahead.step()


def _detached_copy(
    scheduler: torch.optim.lr_scheduler.LRScheduler, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """A copy whose steps leave the user's scheduler alone; weights and state are not copied."""
    shared: dict[int, Any] = {id(optimizer.state): optimizer.state}
    for group in optimizer.param_groups:
        shared.update((id(parameter), parameter) for parameter in group["params"])
    return copy.deepcopy(scheduler, shared)
