"""What is written down on the way: separations at every step, and where segments begin and end."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Growth(NamedTuple):
    """Growth of the separations of `K` neighbours of `M` systems.

    Attributes:
        increments: Log growth of the mean separation, `(segments, M)`; NaN from a divergence on,
            and from where rounding swallowed the radius.
        relative: Growth of every neighbour over the mean growth, `(segments, M, K)`.
        log_separations: As if never rescaled, `(steps + 1, M, K)`.
        is_finite: Whether all separations are numbers, `(steps + 1, M)`.
        is_swallowed: Whether a neighbour that was put at the radius fell on its reference by
            rounding, at the start of a segment, `(segments, M)`.
    """

    increments: Tensor
    relative: Tensor
    log_separations: Tensor
    is_finite: Tensor
    is_swallowed: Tensor


class Series:
    """Collects separations `(M, K)` without looking at them (no host synchronisation)."""

    def __init__(self, initial: Tensor) -> None:
        self._starts = [initial]
        self._ends: list[Tensor] = []
        self._length = 0
        self._log = [initial.log()]
        self._is_finite = [torch.isfinite(initial)]
        self._log_offset = torch.zeros_like(initial)
        self._latest = initial
        self.lengths: list[int] = []
        self.losses: list[Tensor] = []

    def add(self, separations: Tensor, losses: Tensor | None) -> None:
        """Write down a step."""
        self._length += 1
        self._latest = separations
        self._log.append(separations.log() + self._log_offset)
        self._is_finite.append(torch.isfinite(separations))
        if losses is not None:
            self.losses.append(losses)

    def close_segment(self, rescaled: Tensor) -> None:
        """End a segment; `rescaled` are the separations that the next one starts with."""
        self._ends.append(self._latest)
        self._starts.append(rescaled)
        self.lengths.append(self._length)
        self._length = 0
        moved = self._latest.log() - rescaled.log()
        # Zero before and after: nothing was moved. Zero before only: drawn anew. Zero after only:
        # rounding has swallowed the radius.
        swallowed = torch.where(self._latest == 0, 0.0, torch.nan)
        moved = torch.where(rescaled == 0, swallowed, moved)
        self._log_offset = self._log_offset + moved

    def growth(self, neighbours: slice, is_redrawn: bool) -> Growth:
        """The growth of some of the neighbours."""
        starts = torch.stack(self._starts[:-1])[..., neighbours]
        ends = torch.stack(self._ends)[..., neighbours]
        mean_start, mean_end = starts.mean(-1), ends.mean(-1)
        increments = mean_end.log() - mean_start.log()
        if not is_redrawn and bool((mean_end == 0).any()):
            increments = _bridged(mean_start.log(), mean_end.log())
        before = torch.cat([torch.ones_like(ends[:1]), ends[:-1]])
        is_swallowed = ((starts == 0) & (before > 0)).any(-1)
        valid = (torch.isfinite(ends).all(-1) & ~is_swallowed).cumprod(0).bool()
        factors = torch.where(starts > 0, ends / starts, 0.0)
        mean_factor = factors.mean(-1, keepdim=True)
        relative = torch.where(mean_factor > 0, factors / mean_factor, 1.0)
        return Growth(
            torch.where(valid, increments, torch.nan),
            torch.where(valid.unsqueeze(-1), relative, 1.0),
            torch.stack(self._log)[..., neighbours],
            torch.stack(self._is_finite)[..., neighbours].all(-1),
            is_swallowed,
        )


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
