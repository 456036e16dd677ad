"""The interface of a way to compute gradients."""

from __future__ import annotations

from typing import NamedTuple, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor

from lyapopt.dynamics.batches import Batch

RowWeights = Float[Tensor, "rows weights"]
"""The trained parameters of every row, flattened."""

RowBuffers = Float[Tensor, "rows buffers"]
"""The moving buffers of every row, flattened."""


class RowGradients(NamedTuple):
    """What a batch gives every row.

    Attributes:
        gradients: Derivatives of the loss in the weights.
        losses: The losses on the batch.
        buffers: Moving buffers after the forward pass.
    """

    gradients: RowWeights
    losses: Float[Tensor, " rows"]
    buffers: RowBuffers


@runtime_checkable
class Gradients(Protocol):
    """A way to compute the gradients of rows `systems x trajectories`, flattened in that order."""

    def __call__(self, w: RowWeights, b: RowBuffers, batch: Batch, t: int) -> RowGradients:
        """Gradients, losses and new buffers of all rows.

        Args:
            w: Weights.
            b: Moving buffers.
            batch: Inputs and targets.
            t: Time, which dropout masks and counters follow.
        """
        ...
