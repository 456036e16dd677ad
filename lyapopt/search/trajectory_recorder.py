"""Trajectories of many trials as they train, kept for the store."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapopt.dynamics import AnyTrainingMap
from lyapopt.dynamics.randomness import generator
from lyapopt.settings import RecordSettings
from lyapopt.store import TrajectoryRecord

_FEW_WEIGHTS = 2**16  # of which a Gaussian projection takes 32 MiB
_SUMS = 4093  # a prime, so that what the rows of a layer have in common does not fall together


class Recorder:
    """Losses and weights of the reference trajectories of a stack, row by row.

    Args:
        settings: What to keep.
        seed: Study seed, which the projection follows from.
        rows: Keys of the rows of the stack.
    """

    def __init__(self, settings: RecordSettings, seed: int, rows: Sequence[int]) -> None:
        self._settings = settings
        self._seed = seed
        self._rows = list(rows)
        self._losses: dict[int, list[Tensor]] = {row: [] for row in rows}
        self._weights: dict[int, list[Tensor]] = {row: [] for row in rows}
        self._weight_steps: dict[int, list[int]] = {row: [] for row in rows}
        self._neighbours: dict[int, list[Tensor]] = {row: [] for row in rows}
        self._projections: dict[torch.dtype, Callable[[Tensor], Tensor]] = {}
        self._new_losses: list[Tensor] = []
        self._new_weights: list[Tensor] = []
        self._new_steps: list[int] = []

    def of_rows(self, rows: Sequence[int]) -> Recorder:
        """Another one of the same settings, for other rows."""
        return Recorder(self._settings, self._seed, rows)

    @property
    def keeps_neighbours(self) -> bool:
        """Whether weights of neighbours are kept."""
        return self._settings.neighbours > 0 and self._settings.weights != "none"

    def observe(self, step: AnyTrainingMap, t: int, z: Tensor, losses: Tensor) -> None:
        """Keep the losses at step `t` and, when they are due, the weights before it."""
        self.observe_weights(t, step.weights(z[:, 0]), losses[:, 0])

    def observe_weights(self, t: int, weights: Tensor, losses: Tensor) -> None:
        """The same from weights `(rows, P)` and losses `(rows,)` of the references."""
        self._new_losses.append(losses)
        if self._settings.weights != "none" and t % self._settings.every == 0:
            self._new_weights.append(self._reduced(weights))
            self._new_steps.append(t)

    def observe_neighbours(self, rows: Sequence[int], weights: Tensor) -> None:
        """Keep where the neighbours of some rows are at a step, as differences to the reference.

        Args:
            rows: Which rows.
            weights: Of reference and neighbours, `(rows, 1 + neighbours, P)`.
        """
        few = min(self._settings.neighbours, weights.shape[1] - 1)
        if few and self.keeps_neighbours:
            differences = self._reduced(weights[:, 1 : few + 1] - weights[:, :1]).flatten(1)
            for row, difference in zip(rows, differences.cpu(), strict=True):
                self._neighbours[row].append(difference)

    def forget_neighbours(self, rows: Sequence[int]) -> None:
        """Drop what is kept of neighbours of some rows, before they are run again."""
        for row in rows:
            self._neighbours[row].clear()

    def keep(self, rows: Sequence[int]) -> None:
        """Go on with some of the rows only."""
        self._distribute()
        self._rows = list(rows)

    def rest(self) -> None:
        """Drop what is only needed to go on, and is made again if it goes on."""
        self._distribute()
        self._projections = {}

    def losses(self, row: int) -> NDArray[np.float64]:
        """Losses of one row so far, `(steps,)`."""
        self._distribute()
        parts = self._losses[row]
        return torch.cat(parts).double().cpu().numpy() if parts else np.empty(0)

    def trajectories(self, row: int) -> list[TrajectoryRecord]:
        """The series of one row.

        Returns:
            `loss`, `weights` `(recorded steps, dim)`, and `neighbours`
            `(steps of the probe, neighbours * dim)`, where they are kept.
        """
        dtype = np.dtype(self._settings.dtype)
        series = [TrajectoryRecord("loss", _stored(self.losses(row), dtype))]
        if self._weights[row]:
            values = torch.cat(self._weights[row]).double().cpu().numpy()
            steps = np.array(self._weight_steps[row], dtype=np.int64)
            series.append(TrajectoryRecord("weights", _stored(values, dtype), steps))
        if self._neighbours[row]:
            values = torch.stack(self._neighbours[row]).double().numpy()
            series.append(TrajectoryRecord("neighbours", _stored(values, dtype)))
        return series

    def _distribute(self) -> None:
        """Hand what came since the last call to the rows that it belongs to."""
        if self._new_losses:
            losses = torch.stack(self._new_losses, 1)
            for position, row in enumerate(self._rows):
                self._losses[row].append(losses[position])
        if self._new_weights:
            weights = torch.stack(self._new_weights, 1)
            for position, row in enumerate(self._rows):
                self._weights[row].append(weights[position])
                self._weight_steps[row] += self._new_steps
        self._new_losses, self._new_weights, self._new_steps = [], [], []

    def _reduced(self, weights: Tensor) -> Tensor:
        count = weights.shape[-1]
        if self._settings.weights == "full" or count <= self._settings.projection_dim:
            return weights.clone()
        if weights.dtype not in self._projections:  # a twin is measured in another precision
            make = gaussian_projection if count <= _FEW_WEIGHTS else signed_sums
            dim = self._settings.projection_dim
            self._projections[weights.dtype] = make(count, dim, self._seed, like=weights)
        return self._projections[weights.dtype](weights)


def gaussian_projection(
    count: int, dim: int, seed: int, *, like: Tensor
) -> Callable[[Tensor], Tensor]:
    """A projection from `(..., count)` to `(..., dim)` that keeps lengths on average.

    Args:
        count: How many weights there are.
        dim: How many numbers are made of them.
        seed: Seed of the projection.
        like: A tensor of the precision and on the device that it is used with.

    Source: Johnson & Lindenstrauss 1984.
    """
    source = generator(seed, "projection")
    gaussian: Tensor = torch.randn(count, dim, dtype=torch.float64, generator=source)
    matrix = (gaussian / math.sqrt(dim)).to(like)
    return lambda weights: weights @ matrix


def signed_sums(count: int, dim: int, seed: int, *, like: Tensor) -> Callable[[Tensor], Tensor]:
    """The same for many weights: a Gaussian projection of sums of weights with random signs.

    It takes a sign for each weight where a matrix would take `dim` numbers, and one pass over them.
    Arguments as of `gaussian_projection`.

    Source: Charikar, Chen & Farach-Colton 2002; Clarkson & Woodruff 2013.
    """
    source = generator(seed, "projection", "signs")
    signs = torch.randint(2, (count,), dtype=torch.int8, generator=source).to(like.device)
    signs = signs.to(like.dtype).mul_(-2).add_(1)
    project_sums = gaussian_projection(_SUMS, dim, seed, like=like)
    in_rows = count - count % _SUMS

    def project(weights: Tensor) -> Tensor:
        mixed = weights * signs
        sums = mixed[..., :in_rows].reshape(*weights.shape[:-1], -1, _SUMS).sum(-2)
        sums[..., : count - in_rows] += mixed[..., in_rows:]
        return project_sums(sums)

    return project


def _stored(values: NDArray[np.float64], dtype: np.dtype) -> NDArray[np.floating]:
    with np.errstate(over="ignore"):  # a loss beyond float32 is stored as infinity
        return values.astype(dtype)
