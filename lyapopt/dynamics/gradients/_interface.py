"""The interface of a way to compute gradients."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from torch import Tensor

from lyapopt.dynamics.batches import Batch


class RowGradients(NamedTuple):
    """What a batch gives every row.

    Attributes:
        gradients: Of the loss in the weights, `(rows, P)`.
        losses: `(rows,)`.
        buffers: Moving buffers after the forward pass, `(rows, B)`.
    """

    gradients: Tensor
    losses: Tensor
    buffers: Tensor


class Gradients(Protocol):
    """A way to compute the gradients of rows `systems x trajectories`, flattened in that order."""

    def __call__(self, w: Tensor, b: Tensor, batch: Batch, t: int) -> RowGradients:
        """Gradients, losses and new buffers of all rows.

        Args:
            w: Weights, `(rows, P)`.
            b: Moving buffers, `(rows, B)`.
            batch: Inputs and targets.
            t: Time, which dropout masks and counters follow.
        """
        ...
