"""Flags of an exponent from neighbours, read off on the host once, after the run."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from lyapopt.exponents import flags as f
from lyapopt.exponents._flock import Flock
from lyapopt.exponents._series import Growth
from lyapopt.exponents._tangent_flock import TangentFlock
from lyapopt.exponents.drift import drifts, half_means
from lyapopt.exponents.exponent import Exponent
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.intervals import FEWEST_SEGMENTS, has_interval_over_time

_DOUBTFUL = 1e-4  # relative rounding error of a separation
_DOUBTFUL_SHARE = 0.1  # of an exponent, that rounding may be
_FAR = 1e-2  # separation over the norm of the weights
_CURVED = 0.01  # relative change of an exponent at a tenth of the radius


AnyFlock = Flock | TangentFlock


class Sizes:
    """Norms of weights and of separations in the weights, at the ends of segments."""

    def __init__(self, flock: AnyFlock) -> None:
        self._flock = flock
        self._first = flock.weights(flock.z[:, :1]).clone()
        self._norms = [self._norm(self._first)]
        self._smallest: list[Tensor] = []
        self._largest: list[Tensor] = []
        self._has_moved: list[Tensor] = []

    def begin(self) -> None:
        """The burn-in has ended: whether the weights move is asked from here on."""
        self._first = self._flock.weights(self._flock.z[:, :1]).clone()

    def look(self) -> None:
        """Write down the sizes as they are now, before a rescaling."""
        away = self._flock.weight_separations()
        reference = self._flock.weights(self._flock.z[:, :1])
        self._norms.append(self._norm(reference))
        self._smallest.append(away.amin(-1))
        self._largest.append(away.amax(-1))
        self._has_moved.append((reference != self._first).any(-1)[:, 0])

    def noise(self) -> Tensor:
        """Median over segments of the relative rounding error of a separation, `(M,)`."""
        eps = torch.finfo(self._first.dtype).eps
        smallest = torch.stack(self._smallest).double()
        radius = self._flock.radius
        size = torch.where(smallest > 0, smallest, radius).clamp(max=radius)
        return (eps * torch.stack(self._norms[1:]).double() / size).nanmedian(0).values

    def reach(self) -> Tensor:
        """Largest separation over the largest norm of the weights, `(M,)`; 0 if those are 0."""
        norm = torch.stack(self._norms).double().nan_to_num(0.0, 0.0).amax(0)
        largest = torch.stack(self._largest).double().nan_to_num(0.0, 0.0).amax(0)
        return torch.where(norm > 0, largest / norm, 0.0)

    def has_moved(self) -> Tensor:
        """Whether the weights of the reference ever moved, `(M,)`."""
        return torch.stack(self._has_moved).any(0)

    @staticmethod
    def _norm(reference: Tensor) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(reference, dim=-1)[:, 0]
        return norm


class TangentSizes(Sizes):
    """The same of tangents, which have no extent: their norms round as any number does."""

    def noise(self) -> Tensor:
        """The relative rounding error of a norm, `(M,)`."""
        return torch.full_like(self._norms[0], torch.finfo(self._first.dtype).eps).double()

    def reach(self) -> Tensor:
        """0, `(M,)`: a tangent does not leave the linear regime."""
        return torch.zeros_like(self._norms[0]).double()


@dataclass(frozen=True)
class _Facts:
    """What is known of the estimate of one system."""

    value: float
    segments: int
    neighbours: int
    diverged_at: int | None
    swallowed_at: int | None
    tiny_at: int | None
    collapsed_at: int | None
    is_unchanged: bool
    has_moved: bool
    noise: float
    reach: float
    linearity_error: float | None
    is_drifting: bool
    halves: tuple[float, float]

    def flags(self) -> tuple[Flag, ...]:
        found = []
        if self.diverged_at is not None:
            found.append(Flag(f.DIVERGED, "the state is not finite", self.diverged_at))
        if self.collapsed_at is not None:
            found.append(
                Flag(
                    f.COLLAPSED,
                    "every neighbour met its reference: the growth is zero",
                    self.collapsed_at,
                )
            )
        if self.is_unchanged:
            found.append(Flag(f.UNCHANGED, "separations stayed equal to rounding"))
            if not self.has_moved:
                found.append(Flag(f.DEAD, "neither separations nor weights moved: no gradient"))
        found += self._doubts()
        if not has_interval_over_time(self.segments):
            others = "and one neighbour" if self.neighbours == 1 else "in time"
            found.append(
                Flag(
                    f.NO_INTERVAL,
                    f"{self.segments} segments {others} are too few to average over; an interval "
                    f"over time needs {FEWEST_SEGMENTS}",
                )
            )
        return tuple(found)

    def _doubts(self) -> list[Flag]:
        found = []
        if self.swallowed_at is not None:
            found.append(
                Flag(f.PRECISION, "rounding swallowed the radius; use a larger", self.swallowed_at)
            )
        elif self.tiny_at is not None:
            found.append(
                Flag(
                    f.PRECISION,
                    "separations shrank to the rounding error of the map in one segment: the "
                    "exponent may be -inf",
                    self.tiny_at,
                )
            )
        elif self.noise > _DOUBTFUL:
            found.append(
                Flag(f.PRECISION, f"separations carry a rounding error of {self.noise:.1g}")
            )
        elif not self.is_unchanged and self.noise > _DOUBTFUL_SHARE * abs(self.value):
            found.append(
                Flag(
                    f.PRECISION,
                    f"the exponent is not large against the rounding error {self.noise:.1g}",
                )
            )
        if self.reach > _FAR:
            found.append(Flag(f.NONLINEAR, f"a separation reached {self.reach:.1g} of the weights"))
        elif self._is_curved():
            found.append(
                Flag(
                    f.NONLINEAR,
                    f"the exponent changes by {self.linearity_error:.1g} at a tenth of the radius",
                )
            )
        if self.is_drifting:
            first, second = self.halves
            found.append(
                Flag(
                    f.NOT_CONVERGED,
                    f"the growth rate drifts: {first:.4g} in the first half, {second:.4g} in the "
                    "second (nats per step); the value belongs to this horizon",
                )
            )
        return found

    def _is_curved(self) -> bool:
        error = self.linearity_error
        if error is None or math.isnan(error):
            return False
        return error > _CURVED * abs(self.value) + 20 * self.noise


def remarks(exponent: Exponent, growth: Growth, sizes: Sizes) -> Exponent:
    """The exponent with its flags."""
    log = growth.log_separations
    eps = torch.finfo(exponent.final_state.dtype).eps
    is_finite = growth.is_finite.all(0)
    met = (log == -torch.inf).all(-1)
    collapsed = torch.isneginf(exponent.value)
    noise = sizes.noise()
    rounding = 4 * noise.clamp(min=eps)
    unchanged = ((log - log[0]).abs().amax((0, 2)) <= rounding * len(log) ** 0.5) & is_finite
    starts = torch.tensor([0, *exponent.segment_steps.cumsum(0).tolist()][:-1])
    swallowed = growth.is_swallowed
    # A map that annihilates a separation leaves its own rounding error of it.
    tiny = (exponent.increments < math.log(64 * eps)) & torch.isfinite(exponent.increments)
    halves = half_means(exponent.increments, exponent.segment_steps)
    drifting = drifts(exponent.increments, exponent.segment_steps)
    error = exponent.linearity_error
    columns = {
        "value": exponent.value.tolist(),
        "diverged_at": _first(~growth.is_finite, ~is_finite),
        "collapsed_at": _first(met, collapsed),
        "swallowed_at": [
            None if i is None else int(starts[i]) for i in _first(swallowed, swallowed.any(0))
        ],
        "tiny_at": [None if i is None else int(starts[i]) for i in _first(tiny, tiny.any(0))],
        "is_unchanged": unchanged.tolist(),
        "has_moved": sizes.has_moved().tolist(),
        "noise": noise.nan_to_num(0.0).tolist(),
        "reach": sizes.reach().tolist(),
        "linearity_error": [None] * len(noise) if error is None else error.tolist(),
        "is_drifting": drifting.tolist(),
        "halves": list(zip(*(half.tolist() for half in halves), strict=True)),
    }
    rows = zip(*columns.values(), strict=True)
    segments, neighbours = len(exponent.increments), exponent.neighbours
    flags = tuple(
        _Facts(
            segments=segments, neighbours=neighbours, **dict(zip(columns, row, strict=True))
        ).flags()
        for row in rows
    )
    return dataclasses.replace(exponent, flags=flags)


def _first(happened: Tensor, where: Tensor) -> list[int | None]:
    """Index down the first axis of the first true, for the systems `where`; else `None`."""
    index = happened.int().argmax(0).tolist()
    return [i if holds else None for i, holds in zip(index, where.tolist(), strict=True)]
