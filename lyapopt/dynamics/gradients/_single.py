"""Gradients of one row by plain autograd: what a PyTorch loop does, from a flat state."""

from __future__ import annotations

from contextlib import nullcontext

import torch
from torch import Tensor

from lyapopt.dynamics.batches import Batch
from lyapopt.dynamics.gradients._interface import RowBuffers, RowGradients, RowWeights
from lyapopt.dynamics.gradients._template import Binding, Template
from lyapopt.dynamics.layers import DeterministicLayers


class SingleGradients:
    """Loss and gradient of the only row, whose weights are copied into parameters made once.

    Args:
        template: The model of one system and its fixed tensors.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._binding = Binding(template.model)
        self._key = template.keys[0]
        self._flat = template.flat.clone()
        weights = template.weights.of(self._flat)
        self._leaves = [part.requires_grad_() for part in weights.values()]
        self._binding.bind({**template.shared, **weights})

    def __call__(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """Gradient `(1, P)`, loss `(1,)` and new buffers `(1, B)`; see `Gradients`."""
        buffers = self._template.buffers
        with torch.no_grad():
            self._flat.copy_(w[0])
        self._binding.bind(self._template.counters(t))
        moving: dict[str, Tensor] = {}
        with torch.enable_grad():
            if buffers.names:
                moving = {name: part.clone() for name, part in buffers.of(b[0]).items()}
                self._binding.bind(moving)
            own = batch.tensors if batch.is_shared else [part[0] for part in batch.tensors]
            loss = self._loss(own, t).reshape(())
            gradients = torch.autograd.grad(loss, self._leaves)
        g = torch.cat([gradient.reshape(-1) for gradient in gradients])
        if moving:
            flat = [part.detach().reshape(-1) for part in moving.values()]
            b = torch.cat(flat).unsqueeze(0)
        return RowGradients(g.unsqueeze(0), loss.detach().reshape(1), b)

    def _loss(self, batch: list[Tensor], t: int) -> Tensor:
        needs_layers = self._template.needs_layers
        with DeterministicLayers(self._key, t) if needs_layers else nullcontext():
            return self._template.loss_fn(self._binding.model(*batch[:-1]), batch[-1])
