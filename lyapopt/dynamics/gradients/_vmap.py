"""Gradients by `torch.func.vmap` over a functional forward pass of one row.

It knows every operation and pays for that at each call. Derivatives of a step (tangents) always
come this way.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lyapopt.dynamics.batches import Batch
from lyapopt.dynamics.gradients._interface import RowBuffers, RowGradients, RowWeights
from lyapopt.dynamics.gradients._template import Template
from lyapopt.dynamics.layers import DeterministicLayers

Tensors = dict[str, Tensor]


class VmapGradients:
    """Gradients, losses and outputs of all rows; both ways to gradients are `Gradients`.

    Args:
        template: The model of the stack and its fixed tensors.
    """

    def __init__(self, template: Template) -> None:
        self._template = template

    @cached_property
    def _evaluating(self) -> nn.Module:
        return copy.deepcopy(self._template.model).eval()

    def composable(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """Gradients that `torch.func` can differentiate again."""
        function = grad_and_value(self._loss(t, is_composable=True), has_aux=True)
        g, (losses, buffers) = self._over_rows(function, w, b, batch)
        return RowGradients(g, losses, buffers)

    def summed(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """The same numbers to rounding by one backward pass of the summed losses.

        Rows do not interact, so that the gradient of the sum holds every row's own gradient. It is
        faster than `composable`, and cannot be differentiated again.
        """
        with torch.enable_grad():
            leaf = w.detach().requires_grad_()
            losses, buffers = self._over_rows(self._loss(t, is_composable=False), leaf, b, batch)
            (g,) = torch.autograd.grad(losses.sum(), leaf)
        return RowGradients(g, losses.detach(), buffers.detach())

    def outputs(self, w: RowWeights, b: RowBuffers, inputs: Batch) -> Any:
        """Outputs in evaluation mode, each `(rows, batch, ...)`; the inputs have no target."""
        model = self._evaluating  # made here, if it has to be: not while a transform runs

        def forward(w: Tensor, b: Tensor, fixed: Tensors, key: Tensor, *inputs: Tensor) -> Any:
            tensors, _ = self._tensors(w, b, fixed, 0)
            # Always on: in evaluation mode other kernels may run than those that were traced.
            with DeterministicLayers(key, 0):
                return functional_call(model, tensors, inputs)

        with torch.no_grad():
            return self._over_rows(forward, w, b, inputs)

    def _loss(self, t: int, is_composable: bool) -> Callable[..., tuple[Tensor, Tensor]]:
        """The loss of one row, and its buffers afterwards, as a function for `_over_rows`.

        Args:
            t: Time.
            is_composable: Whether it will be differentiated twice: then more kernels are replaced.
        """
        template = self._template
        is_replaced = is_composable or template.needs_layers

        def loss(
            w: Tensor, b: Tensor, fixed: Tensors, key: Tensor, *batch: Tensor
        ) -> tuple[Tensor, Tensor]:
            tensors, moving = self._tensors(w, b, fixed, t)
            with DeterministicLayers(key, t) if is_replaced else nullcontext():
                outputs = functional_call(template.model, tensors, batch[:-1])
                value = template.loss_fn(outputs, batch[-1]).reshape(())
            return value, torch.cat([b[:0], *(part.reshape(-1) for part in moving)])

        return loss

    def _over_rows(self, function: Callable[..., Any], w: Tensor, b: Tensor, batch: Batch) -> Any:
        """`function(weights, buffers, fixed tensors, key, *batch)` of every row."""
        keys, stacked = self._template.keys, self._template.stacked
        trajectories = len(w) // len(keys)
        keys = keys.repeat_interleave(trajectories)
        fixed = {n: v.repeat_interleave(trajectories, 0) for n, v in stacked.items()}
        over_batch = (None if batch.is_shared else 0,) * len(batch.tensors)
        mapped = vmap(function, in_dims=(0, 0, 0, 0, *over_batch))
        return mapped(w, b, fixed, keys, *batch.tensors)

    def _tensors(
        self, w: Tensor, b: Tensor, fixed: Tensors, t: int
    ) -> tuple[Tensors, list[Tensor]]:
        """All tensors of one row at time `t`, and those of them that the forward pass changes."""
        own = self._template
        moving = {name: part.clone() for name, part in own.buffers.of(b).items()}
        tensors = {**own.shared, **fixed, **own.counters(t), **own.weights.of(w), **moving}
        return tensors, list(moving.values())
