"""Gradients of many rows by one plain forward and backward pass on batched operators (`Rows`)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from lyapopt.dynamics.batches import Batch
from lyapopt.dynamics.gradients._interface import (
    Gradients,
    RowBuffers,
    RowGradients,
    RowWeights,
)
from lyapopt.dynamics.gradients._single import SingleGradients
from lyapopt.dynamics.gradients._template import Binding, Template
from lyapopt.dynamics.gradients.perceptron import recognised
from lyapopt.dynamics.gradients.rowwise import NoRule, Rows
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.system import System

_MANY_EXAMPLES = 16  # in a batch: few make many small calls out of one
_TINY = 16  # units of a layer, up to which a product is cheaper without a matrix product
_MANY_ROWS = 192  # from which this is so

_IN_CACHE = 3 * 2**20
_IN_MEMORY = 2**30
"""Bytes that a forward pass may keep for the backward pass; more rows run in parts.

What fits into a processor's cache runs up to twice as fast; GPUs want all at once.
"""
_IN_CACHE_OF_PASSES = 2**23
"""The same of passes that are written out, which use their memory again."""
_OF_EVALUATION = 2**26  # bytes of rows that are evaluated at once
_FEWEST = 4  # rows of a part


class _Fixed(NamedTuple):
    """What no update changes, for some of the rows.

    Attributes:
        tensors: Tensors that differ between systems, by name.
        keys: Seeds of the dropout masks.
    """

    tensors: dict[str, Rows]
    keys: Rows

    @property
    def choices(self) -> dict[str, Tensor]:
        """Which row has which activation, where nothing else differs."""
        return {name: value.data for name, value in self.tensors.items()}

    def of_rows(self, rows: slice | Tensor) -> _Fixed:
        tensors = {name: Rows(value.data[rows]) for name, value in self.tensors.items()}
        return _Fixed(tensors, Rows(self.keys.data[rows]))


class BatchedGradients:
    """Losses and gradients of all rows at once; a single row runs on plain tensors.

    Weights with rows innermost in memory give gradients that have them so too.

    Args:
        template: The model of the stack and its fixed tensors.
        systems: Systems of equal structure.
    """

    def __init__(self, template: Template, systems: Sequence[System]) -> None:
        self._batch_size = systems[0].order.size
        self._template = template
        self._passes = recognised(template, systems)
        self._single: SingleGradients | None = None
        self._is_tiny = _is_tiny(template) and self._batch_size >= _MANY_EXAMPLES
        self._has_lost_rows = False
        self._bytes_of_row: int | None = None
        self._fixed: dict[int, _Fixed] = {}
        self._fixed_parts: dict[tuple[int, int], _Fixed] = {}
        self._alive: tuple[Tensor, _Fixed] | None = None

    @cached_property
    def _binding(self) -> Binding:
        """The model with its tensors brought by name; passes that are written out need none."""
        binding = Binding(self._template.model)
        binding.bind(self._template.shared)
        return binding

    @property
    def is_written_out(self) -> bool:
        """Whether passes are written out for all rows, however many they are."""
        return self._passes is not None and not self._is_tiny

    def wants_innermost(self, rows: int) -> bool:
        """Whether so many rows are computed faster with the rows innermost in memory."""
        return self._is_tiny and rows >= _MANY_ROWS

    def __call__(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """Gradients of all rows; those that have diverged are NaN, and are not computed.

        Raises:
            NoRule: If the model calls what has no stacked form here.
        """
        # Looking at numbers makes the host wait for a GPU, which does not mind them.
        if self._has_lost_rows and not w.is_cuda:
            alive = w.sum(1).isfinite()
            if not alive.all():
                return self._of_some(w, b, batch, t, alive.nonzero().squeeze(1))
        found = self._of_all(w, b, batch, t)
        self._has_lost_rows = not w.is_cuda and not _all_finite(found.losses)
        return found

    @property
    def unconditional(self) -> Gradients:
        """The same in one part and whatever the numbers are, so that it can be recorded."""
        self._binding  # noqa: B018 (made here, if it has to be: not while it is recorded)
        return lambda w, b, batch, t: self._recorded(w, b, batch, t, self._of_trajectories(w))

    def evaluated(self, w: RowWeights, x: Tensor, systems: list[int]) -> Tensor | None:
        """Outputs of some systems, where evaluation runs what training runs; else `None`."""
        if self._passes is None:
            return None
        choices = {name: stack[systems] for name, stack in self._template.stacked.items()}
        at_once = max(1, _OF_EVALUATION // (self._bytes_of_pass(len(x), w) or 1))
        parts = [slice(start, start + at_once) for start in range(0, len(w), at_once)]
        found = [
            self._passes.outputs(w[part], x, {name: c[part] for name, c in choices.items()})
            for part in parts
        ]
        return torch.cat(found)

    def _bytes_of_pass(self, examples: int, w: Tensor) -> int | None:
        """What a row of a pass that is written out takes in memory."""
        passes = self._passes
        return None if passes is None else passes.numbers_per_example * examples * w.element_size()

    def _of_some(self, w: Tensor, b: Tensor, batch: Batch, t: int, rows: Tensor) -> RowGradients:
        """Gradients of some rows; the others are NaN."""
        g, losses = torch.full_like(w, torch.nan), w.new_full((len(w),), torch.nan)
        buffers = b.clone()
        if len(rows):
            fixed = self._of_rows(w, rows)
            # The memory layout stays as it is, since it says how to compute.
            alive = w.t()[:, rows].t() if self._is_innermost(w) else w[rows]
            g[rows], losses[rows], buffers[rows] = self._of_stack(
                alive, b[rows], batch.of_rows(rows), t, fixed
            )
        return RowGradients(g, losses, buffers)

    def _of_rows(self, w: Tensor, rows: Tensor) -> _Fixed:
        """Fixed tensors of the rows that have not diverged, kept for the next step."""
        fixed = self._of_trajectories(w)
        if self._alive is None or not torch.equal(self._alive[0], rows):
            self._alive = rows, fixed.of_rows(rows)
        return self._alive[1]

    def _of_all(self, w: Tensor, b: Tensor, batch: Batch, t: int) -> RowGradients:
        if len(w) == 1 and self._passes is None:
            self._single = self._single or SingleGradients(self._template)
            return self._single(w, b, batch, t)
        count = self._rows_at_once(w, b, batch, t)
        if count >= len(w):
            return self._of_stack(w, b, batch, t, self._of_trajectories(w))
        parts = [slice(start, start + count) for start in range(0, len(w), count)]
        found = [self._of_part(w, b, batch, t, rows) for rows in parts]
        g, losses, buffers = zip(*found, strict=True)
        if self._is_innermost(w):
            joined = torch.cat([part.t() for part in g], 1).t()
        else:
            joined = torch.cat(g)
        return RowGradients(joined, torch.cat(losses), torch.cat(buffers))

    def _rows_at_once(self, w: Tensor, b: Tensor, batch: Batch, t: int) -> int:
        """Rows whose forward pass fits into the workspace.

        Learned from two rows, whose tensors that wait for the backward pass are counted.
        """
        if self._bytes_of_row is None:
            self._bytes_of_row = self._bytes_of_pass(self._batch_size, w)
        if self._bytes_of_row is None:
            saved = _SavedBytes([w, b, *batch.tensors])
            with saved:
                self._of_part(w, b, batch, t, slice(0, 2))
            self._bytes_of_row = max(1, saved.total // 2)
        in_cache = _IN_CACHE if self._passes is None else _IN_CACHE_OF_PASSES
        limit = _IN_MEMORY if w.is_cuda else in_cache
        return max(_FEWEST, limit // self._bytes_of_row)

    def _of_part(self, w: Tensor, b: Tensor, batch: Batch, t: int, rows: slice) -> RowGradients:
        fixed = self._of_trajectories(w)
        at = rows.start, rows.stop
        if at not in self._fixed_parts:  # kept for the next step
            self._fixed_parts[at] = fixed.of_rows(rows)
        return self._of_stack(w[rows], b[rows], batch.of_rows(rows), t, self._fixed_parts[at])

    def _of_stack(self, w: Tensor, b: Tensor, batch: Batch, t: int, fixed: _Fixed) -> RowGradients:
        if self._passes is None or self._is_innermost(w):
            return self._recorded(w, b, batch, t, fixed)
        g, losses = self._passes(w.contiguous(), batch, fixed.choices)
        return RowGradients(g, losses, b)

    @torch.enable_grad()
    def _recorded(self, w: Tensor, b: Tensor, batch: Batch, t: int, fixed: _Fixed) -> RowGradients:
        """Gradients of a stack by autograd."""
        template = self._template
        innermost = self._is_innermost(w)
        leaf = (w.t().contiguous() if innermost else w).detach().requires_grad_()
        parts = template.weights.innermost(leaf) if innermost else template.weights.stacks(leaf)
        moving = {name: part.clone() for name, part in template.buffers.stacks(b).items()}
        for tensors in (
            template.counters(t),
            fixed.tensors,
            {name: Rows(part) for name, part in {**parts, **moving}.items()},
        ):
            self._binding.bind(tensors)
        loss = self._loss(batch, fixed.keys, t)
        (g,) = torch.autograd.grad(loss.data.sum(), leaf)
        flat = [part.reshape(len(w), -1) for part in moving.values()]
        buffers = torch.cat(flat, 1) if flat else b
        return RowGradients(g.t() if innermost else g, loss.data.detach(), buffers.detach())

    def _loss(self, batch: Batch, keys: Rows, t: int) -> Rows:
        """The loss of every row, a stack of scalars."""
        tensors: list[Any] = [p if batch.is_shared else Rows(p) for p in batch.tensors]
        with DeterministicLayers(keys, t) if self._template.needs_layers else nullcontext():
            outputs = self._binding.model(*tensors[:-1])
            loss: object = self._template.loss_fn(outputs, tensors[-1]).reshape(())
        if type(loss) is not Rows:
            raise NoRule("a loss that no row has a part in")
        return loss

    def _is_innermost(self, w: Tensor) -> bool:
        return self._is_tiny and w.stride(0) == 1 and len(w) > 1

    def _of_trajectories(self, w: Tensor) -> _Fixed:
        """Fixed tensors of all rows, kept for the next step."""
        keys = self._template.keys
        trajectories = len(w) // len(keys)
        if trajectories not in self._fixed:
            tensors = {
                name: Rows(value.repeat_interleave(trajectories, 0))
                for name, value in self._template.stacked.items()
            }
            self._fixed_parts, self._alive = {}, None
            self._fixed = {
                trajectories: _Fixed(tensors, Rows(keys.repeat_interleave(trajectories)))
            }
        return self._fixed[trajectories]


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


def _all_finite(losses: Tensor) -> bool:
    if len(losses) == 1:  # a single system makes so short a step that two operations show
        return math.isfinite(losses.item())
    return bool(losses.isfinite().all())


def _is_tiny(template: Template) -> bool:
    """Whether all trained parameters belong to linear layers of a few units."""
    owners = [part for part in template.model.modules() if list(part.parameters(recurse=False))]
    return all(type(part) is nn.Linear for part in owners) and all(
        max(shape) <= _TINY for shape in template.weights.shapes
    )
