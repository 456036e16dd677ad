"""Eq. 4: follow an ensemble of trajectories, and read off how its separations grow.

    lambda = 1 / N * sum_{i = 1..M} ln( D_i(tau) / D_i(0) ),    N = M tau,

where `D_i(s)` is the separation of a neighbour from its reference s steps into segment i, and every
neighbour is put back to the radius between two segments. With several neighbours the logarithms are
averaged over them. The paper averages the separations instead, before the logarithm: neighbours
that do not turn into one direction are then weighed anew in every segment by how much they grow in
it, and the mean lies above all of their own rates by an excess that no horizon takes away.

Source: Mitra, arXiv:2410.05988, Eq. 4 (with the binary logarithm there, and a time step).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from lyapopt.exponents.ensemble import Ensemble
from lyapopt.exponents.rounding import SWAMPED, Rounding

Average = Literal["logs", "paper"]
"""Whether the logs of separations are averaged over neighbours, or separations before the log."""

Series = Float[Tensor, "segments systems"]
_LOG_OF_ZERO = -1e6  # of a start that is left out: any number that stands for itself

SeriesOfEach = Float[Tensor, "segments systems neighbours"]


class Growth(NamedTuple):
    """Growth of the separations of `K` neighbours of every system.

    Attributes:
        increments: `ln( D_i(tau) / D_i(0) )`, averaged over neighbours; NaN from a divergence
            on, and in segments that are left out. Their sum over segments, divided by the steps of
            those that are not, is Eq. 4.
        relative: Growth of every neighbour over the mean growth.
        log_separations: Natural logarithm of the separations, as if never rescaled.
        is_finite: Whether all separations are numbers, at the start and after every step.
        is_left_out: Whether rounding swallowed a separation in a segment.
    """

    increments: Series
    relative: SeriesOfEach
    log_separations: Float[Tensor, "times systems neighbours"]
    is_finite: Bool[Tensor, "times systems"]
    is_left_out: Bool[Tensor, "segments systems"]


def follow(
    ensemble: Ensemble, N: int, tau: int, burn_in: int, start: int, redraw: bool = False
) -> SeparationLog:
    """Step an ensemble, and write its separations down. What it looks at on the way
    is only whether rounding is small beside all separations.

    Args:
        ensemble: At time `start`; it has moved on by all steps afterwards.
        N: Steps to measure over.
        tau: Steps of a segment (the last one may be shorter).
        burn_in: Steps before the measurement, in which separations only turn.
        start: Time of the first step.
        redraw: Draw new separations between two segments instead of rescaling them.
    """
    log = SeparationLog(ensemble)
    for t in range(start, start + burn_in):
        ensemble.advance(t)
        ensemble.rescale(t + 1)
    begin = start + burn_in
    if redraw and burn_in:
        ensemble.redraw(begin)
    log.begin()
    for s in range(1, N + 1):
        ensemble.advance(begin + s - 1)
        log.add_step()
        if s % tau == 0 or s == N:
            log.end_segment()
            if redraw:
                ensemble.redraw(begin + s)
            else:
                ensemble.rescale(begin + s)
            log.begin_segment()
    return log


def growth_of(log: SeparationLog, neighbours: slice, redraw: bool, average: Average) -> Growth:
    """The growth of some of the neighbours (Eq. 4)."""
    times = torch.stack(log.separations)[..., neighbours]
    starts = torch.stack(log.starts[:-1])[..., neighbours]
    ends = torch.stack([log.separations[end] for end in log.ends])[..., neighbours]
    is_left_out = log.left_out() | _swallowed(starts, ends).any(-1)
    if average == "paper":
        increments = _log_growth(starts.mean(-1), ends.mean(-1), is_left_out, redraw)
    else:
        out_of_each = is_left_out.unsqueeze(-1).expand_as(ends)
        increments = _mean_of_those_apart(_log_growth(starts, ends, out_of_each, redraw))
    is_left_out = is_left_out | (increments == torch.inf)  # from nothing, as outputs can
    valid = torch.isfinite(ends).all(-1).cumprod(0).bool() & ~is_left_out
    return Growth(
        torch.where(valid, increments, torch.nan),
        torch.where(valid.unsqueeze(-1), _relative(starts, ends), 1.0),
        _never_rescaled(log, times, neighbours, is_left_out),
        torch.isfinite(times).all(-1),
        is_left_out,
    )


def _log_growth(starts: Tensor, ends: Tensor, is_left_out: Tensor, redraw: bool) -> Tensor:
    """Log growth in every segment of separations `(segments, ...)`."""
    if redraw or not bool((ends == 0).any()):
        return ends.log() - starts.log()
    return _bridged(starts.log(), ends.log(), is_left_out)


def _mean_of_those_apart(of_each: SeriesOfEach) -> Series:
    """Mean over the neighbours that have not met their reference for good; -inf if all have."""
    is_apart = of_each != -torch.inf
    total = torch.where(is_apart, of_each, 0.0).sum(-1)
    return torch.where(is_apart.any(-1), total / is_apart.sum(-1), -torch.inf)


def _bridged(log_start: Tensor, log_end: Tensor, is_left_out: Tensor) -> Tensor:
    """Increments where a separation may be zero for a while and come back.

    The growth over such a gap belongs to the segment at its end. A separation that never comes back
    has lost everything in the segment where it became zero; one that was drawn anew, after rounding
    had swallowed it, has not come back.
    """
    is_zero = log_end == -torch.inf
    came_back = torch.zeros_like(is_zero)
    later = torch.zeros_like(is_zero[0])
    for i in range(len(is_zero) - 1, -1, -1):
        came_back[i] = later = (later | ~is_zero[i]) & ~is_left_out[i]
    increments = torch.empty_like(log_end)
    since = log_start[0]
    for i, (start, end) in enumerate(zip(log_start, log_end, strict=True)):
        since = torch.where(start == -torch.inf, since, start)
        lost = torch.where(came_back[i], 0.0, -torch.inf)
        increments[i] = torch.where(is_zero[i], lost, end - since)
        # Inside a gap `since` stays what it was where the gap began.
    return increments


def _swallowed(
    starts: SeriesOfEach, ends: SeriesOfEach
) -> Bool[Tensor, "segments systems neighbours"]:
    """Whether a neighbour that was apart at the end of a segment is not at the next one's start.

    A distance that was given as a function may round in its own way.
    """
    before = torch.cat([torch.ones_like(ends[:1]), ends[:-1]])
    return (starts == 0) & (before > 0)


def _relative(starts: SeriesOfEach, ends: SeriesOfEach) -> SeriesOfEach:
    """Growth factor of every neighbour over their mean."""
    factors = torch.where(starts > 0, ends / starts, 0.0)
    mean_factor = factors.mean(-1, keepdim=True)
    return torch.where(mean_factor > 0, factors / mean_factor, 1.0)


def _never_rescaled(
    log: SeparationLog,
    times: Float[Tensor, "times systems neighbours"],
    neighbours: slice,
    is_left_out: Bool[Tensor, "segments systems"],
) -> Float[Tensor, "times systems neighbours"]:
    """Log separations with every rescaling taken back.

    NaN within a segment that is left out; those after it go on from where it began.
    """
    logs = times.log()
    offset = torch.zeros_like(logs[0])
    found = [logs[:1]]
    begin = 1
    starts = [start[..., neighbours] for start in log.starts]
    for i, end in enumerate(log.ends):
        out = is_left_out[i].unsqueeze(-1)
        found.append(torch.where(out, torch.nan, logs[begin : end + 1] + offset))
        begin = end + 1
        # Zero before and after: nothing was moved. Zero before only: drawn anew. Zero after only:
        # the next segment is left out.
        level = torch.where(out, starts[i].log().clamp(min=_LOG_OF_ZERO), logs[end])
        change = level - starts[i + 1].log().clamp(min=_LOG_OF_ZERO)
        is_still = (times[end] == 0) & (starts[i + 1] == 0)
        offset = offset + torch.where(is_still, 0.0, change)
    return torch.cat(found)


class SeparationLog:
    """What is written down of an ensemble on its way, as tensors that are not looked at.

    Attributes:
        ensemble: The ensemble.
        separations: At the start of the measurement and after each step, before any rescaling,
            `(M, K)` each.
        starts: At the start of each segment, and after the last one, `(M, K)` each.
        ends: After how many steps each segment ends.
        losses: Before each step, `(M, trajectories)` each; none if the map has none.
        weight_norms: Of the references, before the burn-in and after each segment, `(M,)` each.
        smallest, largest: Separations in the weights at the end of each segment, `(M,)` each.
        radii: At which each segment starts, `(M or 1, K)` each.
        has_moved: Whether the weights of the references differ from those at the start of the
            measurement, after each segment, `(M,)` each.
    """

    def __init__(self, ensemble: Ensemble) -> None:
        self.ensemble = ensemble
        self.separations: list[Tensor] = []
        self.starts: list[Tensor] = []
        self.ends: list[int] = []
        self.losses: list[Tensor] = []
        self.weight_norms = [_norm(ensemble.weights(ensemble.reference))]
        self.largest: list[Tensor] = []
        self.smallest: list[Tensor] = []
        self.radii: list[Tensor] = []
        self._rounding: list[Rounding | None] = []
        self._own_errors: list[Tensor | None] = []
        self.has_moved: list[Tensor] = []

    @property
    def segment_steps(self) -> list[int]:
        """Steps of each segment."""
        return [end - begin for begin, end in zip([0, *self.ends], self.ends, strict=False)]

    def begin(self) -> None:
        """The burn-in has ended, and the measurement begins."""
        self._first = self.ensemble.weights(self.ensemble.reference).clone()
        self.separations.append(self.ensemble.separations())
        self.starts.append(self.separations[0])

    def add_step(self) -> None:
        """Write down separations and losses after a step."""
        self.separations.append(self.ensemble.separations())
        if self.ensemble.losses is not None:
            self.losses.append(self.ensemble.losses)

    def end_segment(self) -> None:
        """Write down the sizes at the end of a segment, before a rescaling."""
        self.ends.append(len(self.separations) - 1)
        lengths = self.ensemble.weight_separations()
        reference = self.ensemble.weights(self.ensemble.reference)
        self.weight_norms.append(_norm(reference))
        self.largest.append(lengths.amax(-1))
        self.smallest.append(lengths.amin(-1))
        self.radii.append(self.ensemble.radii())
        self._rounding.append(self.ensemble.rounding())
        self._own_errors.append(self.ensemble.rounding_as_measured())
        self.has_moved.append((reference != self._first).any(-1)[:, 0])

    def begin_segment(self) -> None:
        """Write down the separations that the next segment starts with."""
        self.starts.append(self.ensemble.separations())

    def noise(self) -> Series:
        """Relative rounding error of the smallest separation in each segment.

        Tangents have no extent: their norms round as any number does, whatever the weights.
        """
        smallest = torch.stack(self.smallest)
        if self.ensemble.is_infinitesimal:
            return torch.full_like(smallest, torch.finfo(smallest.dtype).eps).double()
        radii = torch.stack([radius[:, :1].expand(len(smallest[0]), 1) for radius in self.radii])
        error = torch.stack([each.error.amax(-1) for each in self._rounding if each is not None])
        noise = _share(error, smallest, radii[..., 0])
        own = self._own_error()
        if own is None:
            return noise
        start, end = torch.stack(self.starts[:-1]).amin(-1), self._ends().amin(-1)
        return torch.maximum(noise, _share(own, end, start))

    def left_out(self) -> Bool[Tensor, "segments systems"]:
        """Whether rounding may have swallowed a separation in each segment."""
        never = torch.zeros_like(self.smallest[0], dtype=torch.bool)
        found = [None if each is None else each.says_nothing for each in self._rounding]
        left_out = torch.stack([never if each is None else each.any(-1) for each in found])
        own = self._own_error()
        if own is None:
            return left_out
        size = torch.maximum(torch.stack(self.starts[:-1]), self._ends())
        # Apart, or never apart: outputs that have met may come back.
        is_known = (size > 0) | (self.starts[0] == 0)
        return left_out | ((own.unsqueeze(-1) > SWAMPED * size) & is_known).any(-1)

    def _ends(self) -> SeriesOfEach:
        return torch.stack([self.separations[end] for end in self.ends])

    def _own_error(self) -> Series | None:
        """Rounding error of what is measured, where that is not the weights."""
        known = [error[:, 0] for error in self._own_errors if error is not None]
        return torch.stack(known) if known else None


def _share(error: Series, end: Series, start: Series) -> Series:
    """An error over the smaller of the separations at both ends of a segment that is not zero."""
    smallest, radius = end.double(), start.double()
    size = torch.where(smallest > 0, smallest, radius).minimum(radius)
    return torch.where(size > 0, error.double() / size, 0.0)


def _norm(weights: Float[Tensor, "systems 1 weights"]) -> Float[Tensor, " systems"]:
    norm: Tensor = torch.linalg.vector_norm(weights, dim=-1)[:, 0]
    return norm
