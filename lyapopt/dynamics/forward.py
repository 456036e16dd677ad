"""The forward pass of many systems at once: one flat `vmap` over systems x trajectories."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, vmap

from lyapopt.dynamics.activations import with_choices
from lyapopt.dynamics.direct_forward import DirectForward
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.pieces import Pieces
from lyapopt.dynamics.rowwise import NoRule
from lyapopt.dynamics.system import System

_LOG = logging.getLogger(__name__)


class StackedForward:
    """Losses, gradients and outputs of a stack of systems that share one structure.

    Rows are `systems x trajectories`, flattened in that order.

    Args:
        systems: Systems of equal structure.

    Attributes:
        has_fixed_tensors: Whether the model reads tensors that are not in the state.
        arrangement: Which row has which activation, where they differ.
    """

    def __init__(self, systems: Sequence[System]) -> None:
        first = systems[0]
        self._systems = systems
        self._loss_fn = first.training.loss_fn
        self._needs_layers = first.trace.needs_layers
        self._template, kinds = with_choices(
            _without_tensors(first.training.model), [system.training.model for system in systems]
        )
        self._evaluating = copy.deepcopy(self._template).eval()
        self._weights = Pieces(first, first.trace.weight_names)
        self._buffers = Pieces(first, first.trace.buffer_names)
        self._shared, self._stacked = _fixed_tensors(systems)
        self.has_fixed_tensors = bool(self._shared or self._stacked)
        device = first.flat_weights().device
        self._stacked.update((name, kind.to(device)) for name, kind in kinds.items())
        self.arrangement = tuple((name, tuple(kind.tolist())) for name, kind in kinds.items())
        self._counters = {name: first.tensor(name).clone() for name in first.trace.counter_names}
        seeds = [system.training.seed & (2**63 - 1) for system in systems]
        self._keys = torch.tensor(seeds, dtype=torch.int64, device=first.flat_weights().device)
        self._direct: DirectForward | None = None
        if not any(system.trace.has_own_gradients for system in systems):
            self._direct = DirectForward(
                systems,
                self._template,
                self._shared,
                self._stacked,
                self._keys,
            )

    def losses(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor]:
        """Losses `(rows,)` and new buffers `(rows, B)`.

        Args:
            w: Weights, `(rows, P)`.
            b: Buffers, `(rows, B)`.
            batch: Inputs and target, each `(batch, ...)` if shared, else `(rows, batch, ...)`.
            shared: Whether all rows see the same batch.
            t: Time, for the dropout masks.
        """
        return cast(tuple[Tensor, Tensor], self._vmapped(self._loss(t), w, b, batch, shared))

    def gradients(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Gradients `(rows, P)`, losses and new buffers, composable with `torch.func`."""
        function = grad_and_value(self._loss(t, composable=True), has_aux=True)
        g, (losses, buffers) = self._vmapped(function, w, b, batch, shared)
        return g, losses, buffers

    def fast_gradients(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same numbers to rounding by one backward pass of the summed losses.

        Rows do not interact, so that the gradient of the sum holds every row's own gradient. It is
        faster than `gradients`, and cannot be differentiated again.
        """
        if self._direct is not None:
            try:
                return self._direct.gradients(w, b, batch, shared, t)
            except NoRule as refusal:
                self.use_vmap(str(refusal))
        with torch.enable_grad():
            leaf = w.detach().requires_grad_()
            losses, buffers = self.losses(leaf, b, batch, shared, t)
            (g,) = torch.autograd.grad(losses.sum(), leaf)
        return g, losses.detach(), buffers.detach()

    def recordable_gradients(
        self, w: Tensor, b: Tensor, batch: Sequence[Tensor], shared: bool, t: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`fast_gradients` of a stack that runs directly, without a look at the numbers."""
        assert self._direct is not None
        return self._direct.whole(w, b, batch, shared, t)

    @property
    def runs_directly(self) -> bool:
        """Whether `fast_gradients` goes without `vmap`."""
        return self._direct is not None

    def arranged(self, z: Tensor) -> Tensor:
        """States `(systems, trajectories, D)` in the memory layout that gradients want."""
        if self._direct is None or not self._direct.wants_innermost(z[..., 0].numel()):
            return z.contiguous()
        return z.permute(2, 0, 1).contiguous().permute(1, 2, 0)

    def use_vmap(self, reason: str) -> None:
        """Take `vmap` from now on, which knows every operation."""
        _LOG.debug("stacking by vmap: %s", reason)
        self._direct = None

    def outputs(self, w: Tensor, b: Tensor, inputs: Sequence[Tensor], shared: bool) -> Any:
        """Outputs in evaluation mode, each `(rows, batch, ...)`; inputs as in `losses`."""

        def forward(w: Tensor, b: Tensor, fixed: Any, key: Tensor, *inputs: Tensor) -> Any:
            tensors, _ = self._tensors(w, b, fixed, 0)
            # Always on: in evaluation mode other kernels may run than those that were traced.
            with DeterministicLayers(key, 0):
                return functional_call(self._evaluating, tensors, inputs)

        with torch.no_grad():
            return self._vmapped(forward, w, b, inputs, shared)

    def _loss(self, t: int, composable: bool = False) -> Callable[..., tuple[Tensor, Tensor]]:
        """The loss of one row, and its buffers afterwards.

        Args:
            t: Time.
            composable: Whether it will be differentiated twice: then more kernels are replaced.
        """

        def loss(
            w: Tensor, b: Tensor, fixed: Any, key: Tensor, *batch: Tensor
        ) -> tuple[Tensor, Tensor]:
            tensors, moving = self._tensors(w, b, fixed, t)
            is_on = composable or self._needs_layers
            with DeterministicLayers(key, t) if is_on else nullcontext():
                outputs = functional_call(self._template, tensors, tuple(batch[:-1]))
                value = self._loss_fn(outputs, batch[-1]).reshape(())
            return value, torch.cat([b[:0], *(part.reshape(-1) for part in moving)])

        return loss

    def _tensors(
        self, w: Tensor, b: Tensor, fixed: dict[str, Tensor], t: int
    ) -> tuple[dict[str, Tensor], list[Tensor]]:
        """All tensors of one row at time `t`, and those of them that the forward pass changes."""
        moving = {name: part.clone() for name, part in self._buffers.of(b).items()}
        counters = {name: counter + t for name, counter in self._counters.items()}
        tensors = {**self._shared, **fixed, **counters, **self._weights.of(w), **moving}
        return tensors, list(moving.values())

    def _vmapped(
        self, function: Callable[..., Any], w: Tensor, b: Tensor, batch: Any, shared: bool
    ) -> Any:
        trajectories = len(w) // len(self._systems)
        keys = self._keys.repeat_interleave(trajectories)
        fixed = {n: v.repeat_interleave(trajectories, 0) for n, v in self._stacked.items()}
        over_batch = (None if shared else 0,) * len(batch)
        return vmap(function, in_dims=(0, 0, 0, 0, *over_batch))(w, b, fixed, keys, *batch)


def _fixed_tensors(systems: Sequence[System]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What no update changes: first what all systems share, then what is stacked over them."""
    shared, stacked = {}, {}
    for name in systems[0].fixed_names:
        values = [system.tensor(name) for system in systems]
        if all(value is values[0] or torch.equal(value, values[0]) for value in values[1:]):
            shared[name] = values[0]
        else:
            stacked[name] = torch.stack(values)
    return shared, stacked


def _without_tensors(model: nn.Module) -> nn.Module:
    """A copy of the module tree whose tensors take no memory; every call brings its own."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("meta"), parameter.requires_grad)
    return copy.deepcopy(model, memo)
