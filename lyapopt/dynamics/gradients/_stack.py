"""The gradients of a stack by the fastest way that its model allows."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lyapopt.dynamics.batches import Batch
from lyapopt.dynamics.gradients._batched import BatchedGradients
from lyapopt.dynamics.gradients._interface import (
    Gradients,
    RowBuffers,
    RowGradients,
    RowWeights,
)
from lyapopt.dynamics.gradients._template import Template
from lyapopt.dynamics.gradients._vmap import VmapGradients
from lyapopt.dynamics.gradients.rowwise import NoRule
from lyapopt.dynamics.maps import State
from lyapopt.dynamics.system import System

_LOG = logging.getLogger(__name__)


class StackGradients:
    """Gradients, losses and outputs of a stack of systems that share one structure.

    Args:
        systems: Systems of equal structure.
        template: What they have in common, where that is known.

    Attributes:
        composable: Gradients that `torch.func` can differentiate again, by a slower way.
    """

    def __init__(self, systems: Sequence[System], template: Template | None = None) -> None:
        self._template = template or Template(systems)
        self._vmap = VmapGradients(self._template)
        self._batched: BatchedGradients | None = None
        self.composable: Gradients = self._vmap.composable
        if not any(system.trace.has_own_gradients for system in systems):
            self._batched = BatchedGradients(self._template, systems)

    def __call__(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """Gradients that cannot be differentiated again; see `Gradients`."""
        if self._batched is not None:
            try:
                return self._batched(w, b, batch, t)
            except NoRule as refusal:
                self.use_vmap(str(refusal))
        return self._vmap.summed(w, b, batch, t)

    @property
    def recordable(self) -> Gradients | None:
        """Gradients whose operations do not depend on the numbers; `None` under `vmap`."""
        return None if self._batched is None else self._batched.unconditional

    @property
    def is_batched(self) -> bool:
        """Whether gradients are computed without `vmap`."""
        return self._batched is not None

    def is_fast_on(self, z: State) -> bool:
        """Whether a compiled step would not be faster: passes are written out, on a processor.

        Of perceptrons of 16 to 960 units it took 1.04 to 1.6 times as long.
        """
        return self._batched is not None and self._batched.is_written_out and not z.is_cuda

    @property
    def has_fixed_tensors(self) -> bool:
        """Whether the model reads tensors that are not in the state."""
        return self._template.has_fixed_tensors

    @property
    def arrangement(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Which system has which activation, where they differ."""
        return self._template.arrangement

    def select(self, systems: Sequence[System], rows: Sequence[int]) -> StackGradients:
        """The gradients of some of the systems.

        Args:
            systems: Those systems.
            rows: Their places in the stack.
        """
        chosen = StackGradients(systems, self._template.select(systems, rows))
        if not self.is_batched:
            chosen.use_vmap("as before")
        return chosen

    def arranged(self, z: State) -> State:
        """States `(systems, trajectories, D)` in the memory layout that gradients want."""
        if self._batched is None or not self._batched.wants_innermost(z[..., 0].numel()):
            return z.contiguous()
        return z.permute(2, 0, 1).contiguous().permute(1, 2, 0)

    def use_vmap(self, reason: str) -> None:
        """Take `vmap` from now on, which knows every operation."""
        _LOG.debug("stacking by vmap: %s", reason)
        self._batched = None

    def evaluated(self, w: RowWeights, x: Tensor, systems: list[int]) -> Tensor | None:
        """Outputs `(rows, batch, units)` of models that do the same when they are evaluated.

        Args:
            w: Weights, one row a system.
            x: Inputs of all.
            systems: Which systems they are.

        Returns:
            `None` where each model has to be run.
        """
        return None if self._batched is None else self._batched.evaluated(w, x, systems)

    def outputs(self, w: RowWeights, b: RowBuffers, inputs: Batch) -> Any:
        """Outputs of the model in evaluation mode, each `(rows, batch, ...)`.

        Args:
            w: Weights.
            b: Moving buffers.
            inputs: The inputs of the model, without a target.
        """
        return self._vmap.outputs(w, b, inputs)
