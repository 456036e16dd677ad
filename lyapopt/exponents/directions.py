"""Directions of perturbation: random, reproducible, in the weight block or the whole state."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError


def seed_of_each(seed: int | Sequence[int], systems: int) -> Sequence[int]:
    """The seeds of the systems, or one seed that all of them share.

    Raises:
        UserError: If there are not as many seeds as systems, or one is no integer.
    """
    try:  # integers of any library
        if not isinstance(seed, Iterable):
            return [operator.index(seed)]
        seeds = [operator.index(each) for each in seed]
    except TypeError:
        raise UserError(
            f"seed must be an integer, or a list with one for each system, not {seed!r}"
        ) from None
    if len(seeds) != systems:
        raise UserError(f"seed has {len(seeds)} numbers for {systems} systems")
    return seeds


def gaussian(seeds: Sequence[int], count: int, dim: int, time: int) -> Tensor:
    """Normal vectors, `(systems or 1, count, dim)`, float64, a function of seed and time."""
    return torch.stack(
        [
            torch.randn(
                (count, dim), dtype=torch.float64, generator=generator(seed, time, "directions")
            )
            for seed in seeds
        ]
    )


def on_sphere(seeds: Sequence[int], count: int, dim: int, time: int) -> Tensor:
    """Points on the unit sphere, `(systems or 1, count, dim)`."""
    vectors = gaussian(seeds, count, dim, time)
    unit: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return unit


def weight_positions(step: Map, dim: int) -> Tensor | None:
    """Where the weights are in a state of `dim` numbers, `(P,)`; `None` if they are all of it.

    Raises:
        UserError: If the map's `weights` is not a selection of coordinates.
    """
    if getattr(step, "weights", None) is None:
        return None
    numbers = torch.arange(dim, dtype=torch.float64).view(1, 1, dim)
    positions = maps.weights(step, numbers).reshape(-1).long()
    if len(positions) == 0 or not torch.equal(
        maps.weights(step, numbers.square()).reshape(-1), positions.double().square()
    ):
        raise UserError("weights(z) of the map must select coordinates of the state")
    return None if len(positions) == dim else positions


def embed(vectors: Tensor, positions: Tensor | None, dim: int) -> Tensor:
    """Vectors of the weight block as vectors of the whole state, zero elsewhere."""
    if positions is None:
        return vectors
    whole = vectors.new_zeros(*vectors.shape[:-1], dim)
    whole[..., positions.to(vectors.device)] = vectors
    return whole
