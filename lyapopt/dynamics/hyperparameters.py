"""Hyperparameters as functions of the step: read from the optimiser and its schedule."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from lyapopt.dynamics.training import Scheduler
from lyapopt.errors import TrainingError


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

    def window(self, start: int, stop: int, needed: int) -> dict[str, Tensor]:
        """Rows `start .. stop - 1`, or up to the schedule's end: name to float64 `(steps, groups)`.

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


def numeric(group: Mapping[str, Any], name: str) -> float:
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
                [numeric(g, n) * (factor if n == "lr" else 1.0) for n in names]
                for g in optimizer.param_groups
            ]
            step += 1
    ahead = _detached_copy(scheduler, optimizer)
    while True:
        yield [[numeric(g, n) for n in names] for g in ahead.optimizer.param_groups]
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
