"""Gradients of one row by the plain module: what a PyTorch loop does, from a flat state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.binding import Binding
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.pieces import Pieces
from lyapopt.dynamics.system import System


class SingleForward:
    """Loss and gradient of the only row, whose weights are copied into parameters made once.

    Args:
        system: The system.
        template: A module tree of this object's own, without values.
        fixed: Tensors that no update changes, by name.
        key: Seed of the system, an int64 scalar.
    """

    def __init__(
        self, system: System, template: nn.Module, fixed: dict[str, Tensor], key: Tensor
    ) -> None:
        trace = system.trace
        self._binding = Binding(template)
        self._loss_fn = system.training.loss_fn
        self._needs_layers = trace.needs_layers
        self._key = key
        self._counters = {name: system.tensor(name).clone() for name in trace.counter_names}
        self._flat = system.flat_weights()
        weights = Pieces(system, trace.weight_names).of(self._flat)
        self._leaves = [part.requires_grad_() for part in weights.values()]
        self._buffers = Pieces(system, trace.buffer_names)
        self._binding.bind({**fixed, **weights})

    def gradients(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradient `(1, P)`, loss `(1,)` and new buffers `(1, B)` at `w (1, P)` and `b (1, B)`."""
        with torch.no_grad():
            self._flat.copy_(w[0])
        if self._counters:
            self._binding.bind({name: counter + t for name, counter in self._counters.items()})
        moving: dict[str, Tensor] = {}
        with torch.enable_grad():
            if self._buffers.names:
                moving = {name: part.clone() for name, part in self._buffers.of(b[0]).items()}
                self._binding.bind(moving)
            loss = self._loss(batch, t).reshape(())
            gradients = torch.autograd.grad(loss, self._leaves)
        g = torch.cat([gradient.reshape(-1) for gradient in gradients])
        if moving:
            flat = [part.detach().reshape(-1) for part in moving.values()]
            b = torch.cat(flat).unsqueeze(0)
        return g.unsqueeze(0), loss.detach().reshape(1), b

    def _loss(self, batch: Sequence[Tensor], t: int) -> Any:
        if not self._needs_layers:
            return self._loss_fn(self._binding.model(*batch[:-1]), batch[-1])
        with DeterministicLayers(self._key, t):
            return self._loss_fn(self._binding.model(*batch[:-1]), batch[-1])
