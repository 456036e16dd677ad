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

Average = Literal["logs", "paper"]
"""Whether the logs of separations are averaged over neighbours, or separations before the log."""

Series = Float[Tensor, "segments systems"]
SeriesOfEach = Float[Tensor, "segments systems neighbours"]


class Growth(NamedTuple):
    """Growth of the separations of `K` neighbours of every system.

    Attributes:
        increments: `ln( D_i(tau) / D_i(0) )`, averaged over neighbours; NaN from a divergence
            on, and from where rounding swallowed the radius. Their sum over segments, divided by
            all steps, is Eq. 4.
        relative: Growth of every neighbour over the mean growth.
        log_separations: Natural logarithm of the separations, as if never rescaled.
        is_finite: Whether all separations are numbers, at the start and after every step.
        is_swallowed: Whether a neighbour that was put at the radius fell on its reference by
            rounding, at the start of each segment.
    """

    increments: Series
    relative: SeriesOfEach
    log_separations: Float[Tensor, "times systems neighbours"]
    is_finite: Bool[Tensor, "times systems"]
    is_swallowed: Bool[Tensor, "segments systems"]


def follow(
    ensemble: Ensemble, N: int, tau: int, burn_in: int, start: int, redraw: bool = False
) -> SeparationLog:
    """Step an ensemble, and write its separations down. Nothing in it waits for the device.

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
        ensemble.rescale()
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
                ensemble.rescale()
            log.begin_segment()
    return log


def growth_of(log: SeparationLog, neighbours: slice, redraw: bool, average: Average) -> Growth:
    """The growth of some of the neighbours (Eq. 4)."""
    times = torch.stack(log.separations)[..., neighbours]
    starts = torch.stack(log.starts[:-1])[..., neighbours]
    ends = torch.stack([log.separations[end] for end in log.ends])[..., neighbours]
    if average == "paper":
        increments = _log_growth(starts.mean(-1), ends.mean(-1), redraw)
    else:
        increments = _mean_of_those_apart(_log_growth(starts, ends, redraw))
    is_swallowed = _swallowed(starts, ends)
    valid = (torch.isfinite(ends).all(-1) & ~is_swallowed).cumprod(0).bool()
    return Growth(
        torch.where(valid, increments, torch.nan),
        torch.where(valid.unsqueeze(-1), _relative(starts, ends), 1.0),
        _never_rescaled(log, times, neighbours),
        torch.isfinite(times).all(-1),
        is_swallowed,
    )


def _log_growth(starts: Tensor, ends: Tensor, redraw: bool) -> Tensor:
    """Log growth in every segment of separations `(segments, ...)`."""
    if redraw or not bool((ends == 0).any()):
        return ends.log() - starts.log()
    return _bridged(starts.log(), ends.log())


def _mean_of_those_apart(of_each: SeriesOfEach) -> Series:
    """Mean over the neighbours that have not met their reference for good; -inf if all have."""
    is_apart = of_each != -torch.inf
    total = torch.where(is_apart, of_each, 0.0).sum(-1)
    return torch.where(is_apart.any(-1), total / is_apart.sum(-1), -torch.inf)


def _bridged(log_start: Tensor, log_end: Tensor) -> Tensor:
    """Increments where a separation may be zero for a while and come back.

    The growth over such a gap belongs to the segment at its end. A separation that never comes back
    has lost everything in the segment where it became zero.
    """
    is_zero = log_end == -torch.inf
    came_back = (~is_zero).int().flip(0).cummax(0).values.flip(0).bool()  # at some time from here
    increments = torch.empty_like(log_end)
    since = log_start[0]
    for i, (start, end) in enumerate(zip(log_start, log_end, strict=True)):
        since = torch.where(start == -torch.inf, since, start)
        lost = torch.where(came_back[i], 0.0, -torch.inf)
        increments[i] = torch.where(is_zero[i], lost, end - since)
        # Inside a gap `since` stays what it was where the gap began.
    return increments


def _swallowed(starts: SeriesOfEach, ends: SeriesOfEach) -> Bool[Tensor, "segments systems"]:
    """Whether a neighbour that was apart at the end of a segment is not at the next one's start."""
    before = torch.cat([torch.ones_like(ends[:1]), ends[:-1]])
    return ((starts == 0) & (before > 0)).any(-1)


def _relative(starts: SeriesOfEach, ends: SeriesOfEach) -> SeriesOfEach:
    """Growth factor of every neighbour over their mean."""
    factors = torch.where(starts > 0, ends / starts, 0.0)
    mean_factor = factors.mean(-1, keepdim=True)
    return torch.where(mean_factor > 0, factors / mean_factor, 1.0)


def _never_rescaled(
    log: SeparationLog, times: Float[Tensor, "times systems neighbours"], neighbours: slice
) -> Float[Tensor, "times systems neighbours"]:
    """Log separations with every rescaling taken back."""
    logs = times.log()
    offset = torch.zeros_like(logs[0])
    found = [logs[:1]]
    begin = 1
    for end, start in zip(log.ends, log.starts[1:], strict=True):
        found.append(logs[begin : end + 1] + offset)
        begin = end + 1
        rescaled = start[..., neighbours]
        # Zero before and after: nothing was moved. Zero before only: drawn anew. Zero after only:
        # rounding has swallowed the radius.
        swallowed = torch.where(times[end] == 0, 0.0, torch.nan)
        offset = offset + torch.where(rescaled == 0, swallowed, logs[end] - rescaled.log())
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
        self.smallest: list[Tensor] = []
        self.largest: list[Tensor] = []
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
        self.smallest.append(lengths.amin(-1))
        self.largest.append(lengths.amax(-1))
        self.has_moved.append((reference != self._first).any(-1)[:, 0])

    def begin_segment(self) -> None:
        """Write down the separations that the next segment starts with."""
        self.starts.append(self.ensemble.separations())


def _norm(weights: Float[Tensor, "systems 1 weights"]) -> Float[Tensor, " systems"]:
    norm: Tensor = torch.linalg.vector_norm(weights, dim=-1)[:, 0]
    return norm
