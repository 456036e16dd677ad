"""Perturbations of a state: random, reproducible directions, and how far apart two states are."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, Protocol, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map
from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError

Distance = (
    Literal["weights", "outputs"]
    | Callable[
        [Float[Tensor, "systems neighbours dim"], Float[Tensor, "systems 1 dim"]],
        Float[Tensor, "systems neighbours"],
    ]
)
"""A name, or a function of neighbours `(M, K, D)` and reference `(M, 1, D)` to `(M, K)`."""


class _HasOutputs(Protocol):
    def outputs(self, z: Tensor) -> Tensor: ...


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


def gaussian(
    seeds: Sequence[int], count: int, dim: int, time: int
) -> Float[Tensor, "seeds {count} {dim}"]:
    """Normal vectors, `(systems or 1, count, dim)`, float64, a function of seed and time."""
    return torch.stack(
        [
            torch.randn(
                (count, dim), dtype=torch.float64, generator=generator(seed, time, "directions")
            )
            for seed in seeds
        ]
    )


def on_sphere(
    seeds: Sequence[int], count: int, dim: int, time: int
) -> Float[Tensor, "seeds {count} {dim}"]:
    """Points on the unit sphere, `(systems or 1, count, dim)`."""
    vectors = gaussian(seeds, count, dim, time)
    unit: Tensor = vectors / torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    return unit


def weight_positions(step: Map, dim: int) -> Int[Tensor, " weights"] | None:
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


def embed(
    vectors: Float[Tensor, "*batch weights"], positions: Int[Tensor, " weights"] | None, dim: int
) -> Float[Tensor, "*batch {dim}"]:
    """Vectors of the weight block as vectors of the whole state, zero elsewhere."""
    if positions is None:
        return vectors
    whole = vectors.new_zeros(*vectors.shape[:-1], dim)
    whole[..., positions.to(vectors.device)] = vectors
    return whole


def weight_norms(
    step: Map, difference: Float[Tensor, "systems vectors dim"]
) -> Float[Tensor, "systems vectors"]:
    """2-norms over the weight block of differences of states, `(M, K)`."""
    norms: Tensor = torch.linalg.vector_norm(maps.weights(step, difference), dim=-1)
    return norms


Measured = tuple[Float[Tensor, "systems neighbours"], Float[Tensor, "systems 1"] | None]
"""Separations and their rounding error, float64; `None` if that is not known."""


def separation_function(step: Map, distance: Distance) -> Callable[[Tensor], Measured] | None:
    """A function from a state `(M, 1 + K, D)` to the separations `(M, K)` and their rounding error.

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
        return lambda z: _between(outputs(z))
    if callable(distance):
        return lambda z: (_checked(distance(z[:, 1:], z[:, :1]), z).double(), None)
    raise UserError(
        f"distance must be 'weights', 'outputs' or a function of two states, not {distance!r}"
    )


def _between(values: Float[Tensor, "systems trajectories outputs"]) -> Measured:
    """Distances to the outputs of the first trajectory."""
    first = values[:, :1]
    eps = torch.finfo(values.dtype).eps
    norms: Tensor = torch.linalg.vector_norm(values[:, 1:] - first, dim=-1)
    error: Tensor = eps * torch.linalg.vector_norm(first, dim=-1).double()
    return norms.double(), error


def _checked(separations: Tensor, z: Tensor) -> Tensor:
    expected = (len(z), z.shape[1] - 1)
    if separations.shape != expected:
        raise UserError(
            f"distance must return separations of shape {expected} (systems, neighbours), "
            f"not {tuple(separations.shape)}"
        )
    return separations
