"""Gradients of many systems by one plain forward and backward pass, without `vmap`.

A single row runs on plain tensors, as any PyTorch loop would; several run on `Rows`.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lyapopt.dynamics.binding import Binding
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.pieces import Pieces
from lyapopt.dynamics.rowwise import NoRule, Rows
from lyapopt.dynamics.single_forward import SingleForward
from lyapopt.dynamics.system import System

_MANY_EXAMPLES = 16  # in a batch: few make many small calls out of one
_TINY = 16  # units of a layer, up to which a product is cheaper without a matrix product
_MANY_ROWS = 192  # from which this is so

_IN_CACHE = 3 * 2**20
_IN_MEMORY = 2**30
"""Bytes that a forward pass may keep for the backward pass; more rows run in parts.

What fits into a processor's cache runs up to twice as fast; GPUs want all at once.
"""
_FEWEST = 4


class _SavedBytes(saved_tensors_hooks):
    """Counts what autograd keeps beside what is given, every memory once."""

    def __init__(self, given: Sequence[Tensor]) -> None:
        self.total = 0
        known = {tensor.untyped_storage().data_ptr() for tensor in given}

        def keep(tensor: Tensor) -> Tensor:
            memory = tensor.untyped_storage()
            if memory.data_ptr() not in known:
                known.add(memory.data_ptr())
                self.total += memory.nbytes()
            return tensor

        super().__init__(keep, lambda tensor: tensor)


class DirectForward:
    """Losses and gradients of rows `systems x trajectories`.

    Args:
        systems: Systems of equal structure.
        template: A module tree of this object's own, without values.
        shared: Fixed tensors that all systems have in common, by name.
        stacked: Other fixed tensors, `(systems, ...)`.
        keys: Seeds of the systems, `(systems,)`.
    """

    def __init__(
        self,
        systems: Sequence[System],
        template: nn.Module,
        shared: dict[str, Tensor],
        stacked: dict[str, Tensor],
        keys: Tensor,
    ) -> None:
        first = systems[0]
        self._system = first
        self._template = template
        self._shared = shared
        self._single: SingleForward | None = None
        self._binding = Binding(copy.deepcopy(template))
        self._loss_fn = first.training.loss_fn
        self._needs_layers = first.trace.needs_layers
        self._weights = Pieces(first, first.trace.weight_names)
        self._buffers = Pieces(first, first.trace.buffer_names)
        self._counters = {name: first.tensor(name).clone() for name in first.trace.counter_names}
        self._stacked = stacked
        self._keys = keys
        self._parts: dict[tuple[int, int], tuple[dict[str, Any], Any]] = {}
        self._has_lost_rows = False
        self._bytes_of_row: int | None = None
        self._spread: dict[int, tuple[dict[str, Any], Any]] = {}
        self._is_tiny = _is_tiny(template, self._weights) and first.order.size >= _MANY_EXAMPLES
        self._binding.bind(shared)

    def wants_innermost(self, rows: int) -> bool:
        """Whether so many rows are computed faster with the rows innermost in memory."""
        return self._is_tiny and rows >= _MANY_ROWS

    def gradients(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients `(rows, P)`, losses `(rows,)` and new buffers `(rows, B)`.

        Weights with rows innermost in memory give gradients that have them so too.

        Raises:
            NoRule: If the model calls what has no stacked form here.
        """
        # Looking at numbers makes the host wait for a GPU, which does not mind them.
        if self._has_lost_rows and not w.is_cuda:
            alive = w.sum(1).isfinite()
            if not alive.all():
                return self._of_some(w, b, batch, shared, t, alive.nonzero().squeeze(1))
        found = self._of_all(w, b, batch, shared, t)
        self._has_lost_rows = not w.is_cuda and not _all_finite(found[1])
        return found

    def whole(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same in one part and whatever the numbers are, for a record of it."""
        fixed, keys = self._for_trajectories(len(w) // len(self._keys))
        return self._of_stack(w, b, batch, shared, t, fixed, keys)

    def _of_some(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int, rows: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients of some rows; the others have diverged, and are NaN without being computed."""
        g, losses = torch.full_like(w, torch.nan), w.new_full((len(w),), torch.nan)
        buffers = b.clone()
        if len(rows):
            fixed, keys = self._for_trajectories(len(w) // len(self._keys))
            own = batch if shared else [part[rows] for part in batch]
            some = {name: Rows(value.data[rows]) for name, value in fixed.items()}
            # The memory layout stays as it is, since it says how to compute.
            alive = w.t()[:, rows].t() if self._is_innermost(w) else w[rows]
            g[rows], losses[rows], buffers[rows] = self._of_stack(
                alive, b[rows], own, shared, t, some, Rows(keys.data[rows])
            )
        return g, losses, buffers

    def _of_all(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        if len(w) == 1:
            return self._of_one(w, b, batch, shared, t)
        fixed, keys = self._for_trajectories(len(w) // len(self._keys))
        count = self._rows_at_once(w, b, batch, shared, t)
        if count >= len(w):
            return self._of_stack(w, b, batch, shared, t, fixed, keys)
        found = []
        for start in range(0, len(w), count):
            rows = slice(start, start + count)
            own = batch if shared else [part[rows] for part in batch]
            part = self._part(fixed, keys, rows)
            found.append(self._of_stack(w[rows], b[rows], own, shared, t, *part))
        g, losses, buffers = zip(*found, strict=True)
        if self._is_innermost(w):
            return torch.cat([part.t() for part in g], 1).t(), torch.cat(losses), torch.cat(buffers)
        return torch.cat(g), torch.cat(losses), torch.cat(buffers)

    def _rows_at_once(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> int:
        """Rows whose forward pass fits into the workspace.

        Learned from two rows, whose tensors that wait for the backward pass are counted.
        """
        if self._bytes_of_row is None:
            saved = _SavedBytes([w, b, *batch])
            with saved:
                own = batch if shared else [part[:2] for part in batch]
                fixed, keys = self._for_trajectories(len(w) // len(self._keys))
                part = self._part(fixed, keys, slice(0, 2))
                self._of_stack(w[:2], b[:2], own, shared, t, *part)
            self._bytes_of_row = max(1, saved.total // 2)
        limit = _IN_MEMORY if w.is_cuda else _IN_CACHE
        return max(_FEWEST, limit // self._bytes_of_row)

    @torch.enable_grad()
    def _of_stack(
        self,
        w: Tensor,
        b: Tensor,
        batch: Sequence[Tensor],
        shared: bool,
        t: int,
        fixed: dict[str, Any],
        keys: Any,
    ) -> tuple[Tensor, Tensor, Tensor]:
        innermost = self._is_innermost(w)
        leaf = (w.t().contiguous() if innermost else w).detach().requires_grad_()
        parts = self._weights.innermost(leaf) if innermost else self._weights.stacks(leaf)
        moving = {name: part.clone() for name, part in self._buffers.stacks(b).items()}
        self._bind(t, fixed, {n: Rows(p) for n, p in {**parts, **moving}.items()})
        values = batch if shared else [Rows(part) for part in batch]
        loss = self._loss(values, keys, t).reshape(())
        if type(loss) is not Rows:
            raise NoRule("a loss that no row has a part in")
        (g,) = torch.autograd.grad(loss.data.sum(), leaf)
        flat = [part.reshape(len(w), -1) for part in moving.values()]
        buffers = torch.cat(flat, 1) if flat else b
        return g.t() if innermost else g, loss.data.detach(), buffers.detach()

    def _of_one(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        if self._single is None:
            fixed = {name: value[0] for name, value in self._stacked.items()}
            template = copy.deepcopy(self._template)
            self._single = SingleForward(
                self._system, template, {**self._shared, **fixed}, self._keys[0]
            )
        return self._single.gradients(w, b, batch if shared else [part[0] for part in batch], t)

    def _is_innermost(self, w: Tensor) -> bool:
        return self._is_tiny and w.stride(0) == 1 and len(w) > 1

    def _bind(self, t: int, *tensors: dict[str, Any]) -> None:
        counters = {name: counter + t for name, counter in self._counters.items()}
        for named in (counters, *tensors):
            self._binding.bind(named)

    def _loss(self, batch: Sequence[Any], keys: Any, t: int) -> Any:
        with DeterministicLayers(keys, t) if self._needs_layers else _NOTHING:
            outputs = self._binding.model(*batch[:-1])
            return self._loss_fn(outputs, batch[-1])

    def _part(self, fixed: dict[str, Any], keys: Any, rows: slice) -> tuple[dict[str, Any], Any]:
        """Fixed tensors and keys of some rows, kept for the next step."""
        at = rows.start, rows.stop
        if at not in self._parts:
            some = {name: Rows(value.data[rows]) for name, value in fixed.items()}
            self._parts[at] = some, Rows(keys.data[rows])
        return self._parts[at]

    def _for_trajectories(self, trajectories: int) -> tuple[dict[str, Any], Any]:
        """Fixed tensors and keys of all rows, kept for the next step."""
        if trajectories not in self._spread:
            fixed = {
                name: Rows(value.repeat_interleave(trajectories, 0))
                for name, value in self._stacked.items()
            }
            self._parts = {}
            self._spread = {trajectories: (fixed, Rows(self._keys.repeat_interleave(trajectories)))}
        return self._spread[trajectories]


_NOTHING = nullcontext()


def _all_finite(losses: Tensor) -> bool:
    if len(losses) == 1:  # a single system makes so short a step that two operations show
        return math.isfinite(losses.item())
    return bool(losses.isfinite().all())


def _is_tiny(template: nn.Module, weights: Pieces) -> bool:
    """Whether all trained parameters belong to linear layers of a few units."""
    owners = [part for part in template.modules() if list(part.parameters(recurse=False))]
    return all(type(part) is nn.Linear for part in owners) and all(
        max(shape) <= _TINY for shape in weights.shapes
    )
