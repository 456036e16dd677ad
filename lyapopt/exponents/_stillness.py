"""Weights that never move, and whether a gradient could move them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.exponents._resolution import Moment
from lyapopt.exponents._tangent_step import TangentStep
from lyapopt.exponents.directions import embed, on_sphere, weight_positions


class Dead(NamedTuple):
    """Which systems are dead, `(M,)`, and the gradients spent on each to find out."""

    rows: Tensor
    gradient_evaluations: int


class Stillness:
    """Watches the weights of the references from `z`, `(M, 1, D)`, on."""

    def __init__(self, step: Map, z: Tensor) -> None:
        self._step = step
        self._first = maps.weights(step, z).clone()
        self._is_still = torch.ones(len(z), dtype=torch.bool, device=z.device)

    def look(self, z: Tensor) -> None:
        """Compare the weights with the first ones."""
        self._is_still &= (maps.weights(self._step, z) == self._first).all(-1)[:, 0]

    def is_dead(self, last: Moment, push: TangentStep, seeds: Sequence[int]) -> Dead:
        """Whether weights that never moved would not do so from a little beside them either.

        That tells a dead network from one that rests in a minimum. The exponents cannot: momentum
        and moments have exponents of their own.
        """
        if not bool(self._is_still.any()):
            return Dead(self._is_still, 0)
        systems, _, dim = last.z.shape
        positions = weight_positions(self._step, dim)
        width = dim if positions is None else len(positions)
        unit = embed(on_sphere(seeds, 1, width, last.t), positions, dim).to(last.z)
        tangent = unit.expand(systems, -1, -1).movedim(1, 0)
        pushed = push(last.z, tangent, last.t)[1]
        before, after = (maps.weights(self._step, each.movedim(0, 1)) for each in (tangent, pushed))
        moved = torch.linalg.vector_norm(after - before, dim=-1)[:, 0]
        rounding = 8 * torch.finfo(last.z.dtype).eps
        return Dead(self._is_still & (moved <= rounding), 3)
