"""Passes over stacked states, in blocks that stay in the processor's cache.

Sixteen neighbours of a network with half a million weights are 80 MB. To measure their separations
and to rescale them takes little arithmetic; what it costs is to bring the numbers from memory, and
to be given new memory for temporary tensors of that size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyapopt.dynamics import maps
from lyapopt.dynamics.maps import Map

_BLOCK = 2**16  # numbers: half a MiB in float64

State = Float[Tensor, "systems trajectories dim"]
Norms = Float[Tensor, "systems neighbours"]


class _Columns(NamedTuple):
    """Some coordinates of a state, and which of them are weights (`None`: none of them)."""

    where: slice
    weights: Callable[[Tensor], Tensor] | None
    is_mixed: bool = False


class Blocks:
    """Lengths of separations, and their rescaling, each in one pass over the state.

    Args:
        step: The map. One with a geometry of its own (`difference`) is given whole states.
        positions: Where the weights are in the state, `None` if they are all of it.
        z: A stacked state; others that are passed have its shape.
    """

    def __init__(self, step: Map, positions: Int[Tensor, " weights"] | None, z: State) -> None:
        self._step = step
        trajectories, dim = z.shape[1:]
        # A device with launches to wait for is better served with everything at once.
        numbers = max(_BLOCK if z.device.type == "cpu" else z.numel(), trajectories)
        self._height = max(1, numbers // (trajectories * dim))
        end = dim if positions is None else len(positions)
        leads = positions is None or bool((positions == torch.arange(end)).all())
        if leads and getattr(step, "difference", None) is None:
            width = numbers // trajectories
            self._columns = [_Columns(part, _all) for part in _ranges(0, end, width)]
            self._columns += [_Columns(part, None) for part in _ranges(end, dim, width)]
        else:
            whole = _Columns(slice(None), lambda away: maps.weights(step, away), is_mixed=True)
            self._columns = [whole]

    def lengths(self, z: State) -> tuple[Norms, Norms]:
        """Norms of the separations over the weights, and over the whole state."""
        found = []
        for rows in self._split(z):
            of_weights, of_all = [], []
            for columns in self._columns:
                away = self._away(rows, columns)
                if columns.weights is not None:
                    of_weights.append(_norm(columns.weights(away)))
                is_counted = columns.weights is not None and not columns.is_mixed
                of_all.append(of_weights[-1] if is_counted else _norm(away))
            found.append((_root_of_squares(of_weights), _root_of_squares(of_all)))
        over_weights, over_all = zip(*found, strict=True)
        return _joined(over_weights), _joined(over_all)

    def scale_(self, z: State, factors: Norms) -> Norms:
        """Multiply the separations by `factors` in place, and return their norms over the weights.

        What is added to a large weight is rounded: the norms are those of the sums.
        """
        found = []
        parts = zip(self._split(z), self._split(factors.unsqueeze(-1)), strict=True)
        for rows, factor in parts:
            norms = []
            for columns in self._columns:
                part = rows[..., columns.where]
                away = self._away(rows, columns) * factor
                torch.add(part[:, :1], away, out=part[:, 1:])
                if columns.weights is not None:
                    norms.append(_norm(columns.weights(self._away(rows, columns))))
            found.append(_root_of_squares(norms))
        return _joined(found)

    def _split(self, tensor: Tensor) -> tuple[Tensor, ...]:
        """Rows of as many systems as a block holds."""
        return (tensor,) if self._height >= len(tensor) else torch.split(tensor, self._height)

    def _away(self, rows: State, columns: _Columns) -> Tensor:
        part = rows[..., columns.where]
        return maps.difference(self._step, part[:, 1:], part[:, :1])


def _ranges(begin: int, end: int, width: int) -> Iterator[slice]:
    return (slice(i, min(i + width, end)) for i in range(begin, end, width))


def _all(away: Tensor) -> Tensor:
    return away


def _norm(away: Tensor) -> Norms:
    norm: Tensor = torch.linalg.vector_norm(away, dim=-1)
    return norm


def _root_of_squares(norms: list[Tensor]) -> Norms:
    return norms[0] if len(norms) == 1 else _norm(torch.stack(norms, -1))


def _joined(parts: tuple[Tensor, ...] | list[Tensor]) -> Norms:
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
