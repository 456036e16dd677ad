"""Distances between a reference and its neighbours."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, Protocol, cast

import torch
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.errors import UserError

Distance = Literal["weights", "outputs"] | Callable[[Tensor, Tensor], Tensor]
"""A name, or a function of neighbours `(M, K, D)` and reference `(M, 1, D)` to `(M, K)`."""


class _HasOutputs(Protocol):
    def outputs(self, z: Tensor) -> Tensor: ...


def separation_function(step: Map, distance: Distance) -> Callable[[Tensor], Tensor] | None:
    """A function from a state `(M, 1 + K, D)` to the separations `(M, K)`, float64.

    `None` stands for the weights, whose separations are needed for rescaling anyway.

    Raises:
        UserError: If the distance has no such name, or the map has no outputs.
    """
    if distance == "weights":
        return None
    if distance == "outputs":
        if not hasattr(step, "outputs"):
            raise UserError("distance='outputs' needs a map with outputs, such as a TrainingMap")
        outputs = cast(_HasOutputs, step).outputs
        return lambda z: _norms_to_first(outputs(z)).double()
    if callable(distance):
        return lambda z: _checked(distance(z[:, 1:], z[:, :1]), z).double()
    raise UserError(
        f"distance must be 'weights', 'outputs' or a function of two states, not {distance!r}"
    )


def weight_norms(step: Map, difference: Tensor) -> Tensor:
    """2-norms over the weight block of a difference of states, `(M, K)`."""
    norms: Tensor = torch.linalg.vector_norm(maps.weights(step, difference), dim=-1)
    return norms


def _norms_to_first(values: Tensor) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values[:, 1:] - values[:, :1], dim=-1)
    return norms


def _checked(separations: Tensor, z: Tensor) -> Tensor:
    expected = (len(z), z.shape[1] - 1)
    if separations.shape != expected:
        raise UserError(
            f"distance must return separations of shape {expected} (systems, neighbours), "
            f"not {tuple(separations.shape)}"
        )
    return separations
