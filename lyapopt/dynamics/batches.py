"""The batch of every step, for all rows of a stack."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from lyapopt.dynamics.data import BatchOrder, Examples
from lyapopt.dynamics.execution import outside_transforms, to_device


class Batch(NamedTuple):
    """One batch of all rows.

    Attributes:
        tensors: Inputs in the order of the model's arguments, and the target last; each
            `(batch, ...)` if shared, else `(rows, batch, ...)`.
        is_shared: Whether all rows see the same examples.
    """

    tensors: list[Tensor]
    is_shared: bool

    def of_rows(self, rows: slice | Tensor) -> Batch:
        """The batch of some of the rows."""
        return self if self.is_shared else Batch([part[rows] for part in self.tensors], False)


class StackedBatches:
    """Batches of several systems; data that all systems have in common is kept once.

    Args:
        examples: The data of every system, of equal shapes and lengths.
        orders: Their orders of batches, of equal size.
    """

    def __init__(self, examples: Sequence[Examples], orders: Sequence[BatchOrder]) -> None:
        self._orders = orders
        self._has_one_order = all(order == orders[0] for order in orders)
        self._shares_data = all(other.same_as(examples[0]) for other in examples[1:])
        self._data = (
            list(examples[0].tensors)
            if self._shares_data
            else [torch.stack(parts) for parts in zip(*(e.tensors for e in examples), strict=True)]
        )
        self._epochs: dict[int, Tensor] = {}
        self._whole: dict[int, Batch] = {}

    def at(self, t: int, trajectories: int) -> Batch:
        """The batch of step `t` for rows `systems x trajectories`."""
        order = self._orders[0]
        if order.is_full_batch:
            return self._full(trajectories)
        epoch, position = divmod(t, order.steps_per_epoch)
        return self.of(self._epoch(epoch)[:, position], trajectories)

    def of(self, indices: Int[Tensor, "systems batch"], trajectories: int = 1) -> Batch:
        """The batch of given examples, by a row of indices for each system or one row for all."""
        if self._shares_data and len(indices) == 1:
            return Batch([part.index_select(0, indices[0]) for part in self._data], True)
        data = self._data
        if not self._shares_data:  # examples of all systems one after the other
            first = torch.arange(len(self._orders), device=indices.device) * data[0].shape[1]
            indices, data = indices + first.unsqueeze(1), [part.flatten(0, 1) for part in data]
        if trajectories > 1:
            indices = indices.repeat_interleave(trajectories, 0)
        chosen = [part.index_select(0, indices.reshape(-1)) for part in data]
        parts = [part.view(*indices.shape, *part.shape[1:]) for part in chosen]
        return Batch(parts, False)

    def first_inputs(self, count: int, trajectories: int) -> Batch:
        """The first `count` examples without their targets."""
        if self._shares_data:
            return Batch([part[:count] for part in self._data[:-1]], True)
        return self._over_rows([part[:, :count] for part in self._data[:-1]], trajectories)

    def _full(self, trajectories: int) -> Batch:
        """All examples, repeated once for as many trajectories as were asked for last."""
        if trajectories not in self._whole:
            with outside_transforms():
                self._whole = {trajectories: self._over_rows(self._data, trajectories)}
        return self._whole[trajectories]

    def _over_rows(self, parts: list[Tensor], trajectories: int) -> Batch:
        """Data `(systems, examples, ...)` of every trajectory; shared data as it is."""
        if not self._shares_data and trajectories > 1:
            parts = [part.repeat_interleave(trajectories, 0) for part in parts]
        return Batch(parts, self._shares_data)

    def _epoch(self, epoch: int) -> Int[Tensor, "systems steps batch"]:
        """Indices of an epoch's batches; one system stands for all if their orders are equal."""
        if epoch not in self._epochs:
            if len(self._epochs) > 1:
                self._epochs.pop(min(self._epochs))
            orders = self._orders[:1] if self._has_one_order else self._orders
            with outside_transforms():
                table = torch.stack([order.epoch(epoch) for order in orders])
                self._epochs[epoch] = to_device(table, self._data[0].device)
        return self._epochs[epoch]
