"""Flags of exponents and spectra, read off on the host once, after the run."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyapopt.exponents import flags as f
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.growth import Growth, SeparationLog
from lyapopt.exponents.intervals import (
    FEWEST_SEGMENTS,
    drifts,
    half_means,
    has_interval_over_time,
)
from lyapopt.exponents.results import Exponent, Spectrum

_DOUBTFUL = 1e-4  # relative rounding error of a separation
_DOUBTFUL_SHARE = 0.1  # of an exponent, that rounding may be
_FAR = 1e-2  # separation over the norm of the weights
_ALIGNED = 0.9  # mean cosine between directions of neighbours
# By which the log of the mean of separations exceeds the mean of their logs: in nats per step, and
# of the exponent. Random directions in many dimensions point different ways for long, and grow
# alike: in probes of 40 networks over 10 to 40 steps none was aligned, and in two it mattered.
_EXCESS = 1e-3
_EXCESS_SHARE = 0.1
_CURVED = 0.01  # relative change of an exponent at a tenth of the radius


@dataclass(frozen=True)
class _Facts:
    """What is known of the estimate of one system.

    Attributes:
        value: The exponent, nats per step.
        segments, neighbours: How many were averaged over.
        diverged_at, left_out_at, tiny_at, collapsed_at: The step at which the state stopped being
            finite, the first segment that is left out began, a separation shrank to the rounding
            error of the map, and every neighbour met its reference; `None` if none did.
        left_out: How many segments are left out, for rounding.
        ends_finite: Whether the reference is finite in the end.
        is_unchanged: Whether separations stayed equal to rounding.
        has_moved: Whether the weights of the reference ever moved.
        noise: Relative rounding error of a separation.
        reach: Largest separation over the norm of the weights.
        linearity_error, alignment, average: See `Exponent`.
        excess: Growth of the mean separation over the mean growth, nats per step.
        lost: How many neighbours met their reference for good.
        is_drifting: Whether the growth rate drifts from one half of the horizon to the other.
        halves: The growth rate over each, nats per step.
    """

    value: float
    segments: int
    neighbours: int
    diverged_at: int | None
    left_out_at: int | None
    left_out: int
    tiny_at: int | None
    collapsed_at: int | None
    ends_finite: bool
    is_unchanged: bool
    has_moved: bool
    noise: float
    reach: float
    linearity_error: float | None
    alignment: float | None
    average: str
    excess: float
    lost: int
    is_drifting: bool
    halves: tuple[float, float]

    def flags(self) -> Iterator[Flag]:
        """What is to be known of the estimate."""
        if self.diverged_at is not None and self.ends_finite:
            overflowed = "a separation left the numbers, and the state did not"
            yield Flag(f.PRECISION, f"{overflowed}: use shorter segments", self.diverged_at)
        elif self.diverged_at is not None:
            yield Flag(f.DIVERGED, "the state is not finite", self.diverged_at)
        if self.collapsed_at is not None:
            met = "every neighbour met its reference: the growth is zero"
            yield Flag(f.COLLAPSED, met, self.collapsed_at)
        if self.is_unchanged:
            yield Flag(f.UNCHANGED, "separations stayed equal to rounding")
            if not self.has_moved:
                yield Flag(f.DEAD, "neither separations nor weights moved: no gradient")
        yield from self._doubts_of_precision()
        if self.reach > _FAR:
            yield Flag(f.NONLINEAR, f"a separation reached {self.reach:.1g} of the weights")
        elif self._is_curved():
            yield Flag(
                f.NONLINEAR,
                f"the exponent changes by {self.linearity_error:.1g} at a tenth of the radius",
            )
        if self.is_drifting:
            first, second = self.halves
            yield Flag(
                f.NOT_CONVERGED,
                f"the growth rate drifts: {first:.4g} in the first half, {second:.4g} in the "
                "second (nats per step); the value belongs to this horizon",
            )
        if self.alignment is not None and self.alignment < _ALIGNED and self._is_excessive():
            yield Flag(f.UNALIGNED, self._about_directions(self.alignment))
        if not has_interval_over_time(self.segments):
            others = "and one neighbour" if self.neighbours == 1 else "in time"
            yield Flag(
                f.NO_INTERVAL,
                f"{self.segments} segments {others} are too few to average over; an interval "
                f"over time needs {FEWEST_SEGMENTS}",
            )

    def _is_excessive(self) -> bool:
        return self.excess > max(_EXCESS, _EXCESS_SHARE * abs(self.value))

    def _about_directions(self, alignment: float) -> str:
        angle = (
            f"the neighbours point different ways at the end (mean cosine {alignment:.2g}), and "
            f"the log of their mean separation grows by {self.excess:.2g} a step more than the "
            "mean of their logs"
        )
        if self.average == "paper":
            return f"{angle}: it drifts upwards; use average='logs'"
        return f"{angle}: a longer burn_in turns them, where one direction grows fastest"

    def _doubts_of_precision(self) -> Iterator[Flag]:
        if self.left_out_at is not None:
            share = "all" if self.left_out == self.segments else f"{self.left_out} of"
            yield Flag(
                f.PRECISION,
                f"rounding swallowed separations in {share} {self.segments} segments, which are "
                "left out of the mean; use float64, shorter segments, or tangents",
                self.left_out_at,
            )
        elif self.tiny_at is not None:
            yield Flag(
                f.PRECISION,
                "separations shrank to the rounding error of the map in one segment: the exponent "
                "may be -inf",
                self.tiny_at,
            )
        elif 0 < self.lost < self.neighbours:
            lost = f"{self.lost} of {self.neighbours} neighbours met their reference"
            left_out = (
                "" if self.average == "paper" else ", and are left out of the mean from there"
            )
            yield Flag(f.PRECISION, lost + left_out)
        elif self.noise > _DOUBTFUL:
            yield Flag(f.PRECISION, f"separations carry a rounding error of {self.noise:.1g}")
        elif not self.is_unchanged and self.noise > _DOUBTFUL_SHARE * abs(self.value):
            yield Flag(
                f.PRECISION,
                f"the exponent is not large against the rounding error {self.noise:.1g}",
            )

    def _is_curved(self) -> bool:
        error = self.linearity_error
        if error is None or math.isnan(error):
            return False
        return error > _CURVED * abs(self.value) + 20 * self.noise


def with_flags(exponent: Exponent, growth: Growth, log: SeparationLog) -> Exponent:
    """The exponent with its flags, which the growth and the sizes of its separations give."""
    logs = growth.log_separations
    eps = torch.finfo(exponent.final_state.dtype).eps
    is_finite = growth.is_finite.all(0)
    met = (logs == -torch.inf).all(-1)
    collapsed = torch.isneginf(exponent.value)
    out = growth.is_left_out
    noise = torch.where(out, torch.nan, log.noise()).nanmedian(0).values
    rounding = 4 * noise.clamp(min=eps)
    unchanged = ((logs - logs[0]).abs().amax((0, 2)) <= rounding * len(logs) ** 0.5) & is_finite
    starts = [0, *log.ends][:-1]
    # A map that annihilates a separation leaves its own rounding error of it.
    tiny = (exponent.increments < math.log(64 * eps)) & torch.isfinite(exponent.increments)
    halves = half_means(exponent.increments, exponent.segment_steps)
    error, alignment = exponent.linearity_error, exponent.alignment
    lost = (logs == -torch.inf).any(0) if exponent.redraw else logs[-1] == -torch.inf
    columns = {
        "value": exponent.value.tolist(),
        "diverged_at": _first(~growth.is_finite, ~is_finite),
        "collapsed_at": _first(met, collapsed),
        "left_out_at": [None if i is None else starts[i] for i in _first(out, out.any(0))],
        "left_out": out.sum(0).tolist(),
        "tiny_at": [None if i is None else starts[i] for i in _first(tiny, tiny.any(0))],
        "ends_finite": torch.isfinite(exponent.final_state).all(-1)[:, 0].tolist(),
        "is_unchanged": unchanged.tolist(),
        "has_moved": torch.stack(log.has_moved).any(0).tolist(),
        "noise": noise.nan_to_num(0.0).tolist(),
        "reach": _reach(log).tolist(),
        "linearity_error": [None] * len(noise) if error is None else error.tolist(),
        "alignment": [None] * len(noise) if alignment is None else alignment.tolist(),
        "excess": _excess(exponent).tolist(),
        "lost": lost.sum(-1).tolist(),
        "is_drifting": drifts(exponent.increments, exponent.segment_steps).tolist(),
        "halves": list(zip(*(half.tolist() for half in halves), strict=True)),
    }
    common = (len(exponent.increments), exponent.neighbours, exponent.average)
    rows = (dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True))
    facts = (
        _Facts(segments=common[0], neighbours=common[1], average=common[2], **row) for row in rows
    )
    flags = tuple(tuple(each.flags()) for each in facts)
    return dataclasses.replace(exponent, flags=flags)


def _excess(exponent: Exponent) -> Float[Tensor, " systems"]:
    """Growth of the log of the mean separation over the mean growth of the logs (Jensen)."""
    of_each = torch.where(exponent.growth > 0, exponent.growth, 1.0).log()
    used = ~torch.isnan(exponent.increments) * exponent.segment_steps.unsqueeze(1)
    return -of_each.mean(-1).sum(0) / used.sum(0).clamp(min=1)


def _reach(log: SeparationLog) -> Float[Tensor, " systems"]:
    """Largest separation over the largest norm of the weights; 0 if those are 0.

    A tangent does not leave the linear regime: 0.
    """
    norm = torch.stack(log.weight_norms).double().nan_to_num(0.0, 0.0).amax(0)
    if log.ensemble.is_infinitesimal:
        return torch.zeros_like(norm)
    largest = torch.stack(log.largest).double().nan_to_num(0.0, 0.0).amax(0)
    return torch.where(norm > 0, largest / norm, 0.0)


def _first(
    happened: Bool[Tensor, "times systems"], where: Bool[Tensor, " systems"]
) -> list[int | None]:
    """Index of the time when something first happened, for the systems `where`; else `None`."""
    index = happened.int().argmax(0).tolist()
    return [i if holds else None for i, holds in zip(index, where.tolist(), strict=True)]


def spectrum_with_flags(
    result: Spectrum,
    over_weights: Float[Tensor, "segments systems exponents"],
    is_finite: Bool[Tensor, "steps systems"],
    is_zero: Bool[Tensor, "systems exponents"],
    is_doubtful: Bool[Tensor, "systems exponents"],
    is_dead: Bool[Tensor, " systems"],
) -> Spectrum:
    """The spectrum in descending order, with its flags.

    Args:
        result: Exponents in the order of the frame.
        over_weights: Log growth of every tangent over the weights alone, in that order.
        is_finite: Whether the states were finite after each step, burn-in included.
        is_zero, is_doubtful: Which exponents are `-inf`, and which fell below rounding (see
            `Resolution`).
        is_dead: Which systems have no gradient.
    """
    # NaN rows keep their order.
    sortable = result.values.nan_to_num(0.0, torch.inf, -torch.inf)
    order = sortable.sort(dim=-1, descending=True, stable=True).indices
    increments = result.increments.gather(-1, order.expand(len(result.increments), -1, -1))
    tangents = result.final_tangents.gather(
        1, order.unsqueeze(-1).expand(-1, -1, result.final_tangents.shape[-1])
    )
    leading = order[:, :1].expand(len(over_weights), -1, -1)
    spectrum = dataclasses.replace(
        result,
        increments=increments,
        weight_increments=over_weights.gather(-1, leading)[..., 0],
        final_tangents=tangents,
    )
    rounding = 8 * torch.finfo(spectrum.final_state.dtype).eps
    columns = (
        [None if all(row) else row.index(False) for row in is_finite.T.tolist()],
        torch.isnan(increments).all(-1).any(0).tolist(),
        is_zero.gather(-1, order).tolist(),
        is_doubtful.gather(-1, order).tolist(),
        (increments.abs().amax((0, 2)) <= rounding).tolist(),
        is_dead.tolist(),
        drifts(increments, spectrum.segment_steps).tolist(),
        torch.isnan(spectrum.kaplan_yorke_dimension()).tolist(),
    )
    flags = tuple(tuple(_spectrum_flags(spectrum, *row)) for row in zip(*columns, strict=True))
    return dataclasses.replace(spectrum, flags=flags)


def _spectrum_flags(
    spectrum: Spectrum,
    diverged_after: int | None,
    is_lost: bool,
    is_zero: list[bool],
    is_doubtful: list[bool],
    is_unchanged: bool,
    is_dead: bool,
    is_drifting: list[bool],
    is_dimension_unknown: bool,
) -> Iterator[Flag]:
    """The flags of one system."""
    segments = len(spectrum.increments)
    if diverged_after is not None:
        step = diverged_after + 1 - spectrum.burn_in
        yield Flag(f.DIVERGED, "the state is not finite", step)
    elif is_lost:
        yield Flag(
            f.PRECISION, "tangents overflowed before they were orthonormalised; lower qr_every"
        )
    if any(is_zero):
        yield Flag(f.COLLAPSED, f"exponent {_numbers(is_zero)}: the map annihilates the direction")
    if any(is_doubtful):
        yield Flag(
            f.PRECISION,
            f"exponent {_numbers(is_doubtful)}: growth between two QR fell below rounding; "
            "lower qr_every",
        )
    if is_unchanged:
        yield Flag(f.UNCHANGED, "no tangent changed its length by more than rounding")
    if is_dead:
        yield Flag(f.DEAD, "the weights did not move, nor would from beside: no gradient")
    if any(is_drifting):
        yield Flag(
            f.NOT_CONVERGED,
            f"exponent {_numbers(is_drifting)} drifts: its halves differ beyond chance",
        )
    if is_dimension_unknown and not is_lost:
        yield Flag(f.TRUNCATED, "the Kaplan-Yorke dimension needs a larger k")
    if not has_interval_over_time(segments):
        yield Flag(
            f.NO_INTERVAL,
            f"{segments} segments in time are too few to average over; an interval needs "
            f"{FEWEST_SEGMENTS}",
        )


def _numbers(which: list[bool]) -> str:
    """Numbers of the exponents, from 1, as `3` or `3..7`."""
    chosen = [i + 1 for i, holds in enumerate(which) if holds]
    return str(chosen[0]) if len(chosen) == 1 else f"{chosen[0]}..{chosen[-1]}"
