"""The result of measuring the largest exponents of many systems by tangents."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from lyapopt.errors import UserError
from lyapopt.exponents import flags as f
from lyapopt.exponents.checks import check_level
from lyapopt.exponents.exponent import replica_interval
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.interval import Interval, Over, estimand_of
from lyapopt.exponents.intervals import mean_interval_over_time
from lyapopt.exponents.quantities import Quantity
from lyapopt.exponents.units import Per, conversion, unit_name


@dataclass(frozen=True, eq=False, repr=False)
class Spectrum:
    """The `k` largest Lyapunov exponents of `M` systems, with all that they were made from.

    Attributes:
        increments: Log growth along every tangent in every segment, `(segments, M, k)`, in the
            order of `values`; NaN from a divergence on.
        weight_increments: Log growth of the leading tangent over the weights alone in every
            segment, `(segments, M)`: what one neighbour measures in the limit of a small radius.
        segment_steps: Steps of every segment, `(segments,)`.
        alignment: Absolute cosine between the first tangent and what became of an independent
            one, after every segment, `(segments, M)`: 1 once both have turned into the direction
            of fastest growth. It stays below 1 where the two largest exponents are equal. `None`
            with one tangent.
        largest_growth: Log of the largest singular value of the product of Jacobians on the first
            frame, nats per step, `(M,)`.
        final_state: State after the last step, `(M, 1, D)` (`D = 0` where systems of different
            structures were joined).
        final_tangents: The orthonormal frame there (Gram-Schmidt vectors), `(M, k, D)`.
        flags: Remarks on every system's estimate.
        gradient_evaluations: Gradients spent on each system, a tangent step counted as 2.
        horizon, qr_every, burn_in: How it was measured.
        steps_per_epoch: Of the map, `None` if it has no epochs.
        unit, per: Unit of all numbers but `largest_growth`: nats per step unless converted.
    """

    increments: Tensor
    weight_increments: Tensor
    segment_steps: Tensor
    alignment: Tensor | None
    largest_growth: Tensor
    final_state: Tensor
    final_tangents: Tensor
    flags: tuple[tuple[Flag, ...], ...]
    gradient_evaluations: int
    horizon: int
    qr_every: int
    burn_in: int
    steps_per_epoch: int | None = None
    unit: str = "nats"
    per: str = "step"
    scale: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def __repr__(self) -> str:
        return (
            f"Spectrum({self.values}, {self.unit} per {self.per}: {self.quantity}, "
            f"horizon={self.horizon}, qr_every={self.qr_every}, burn_in={self.burn_in}, "
            f"flags={f.counted(self.flags)})"
        )

    @property
    def values(self) -> Tensor:
        """The exponents, `(M, k)`, in descending order.

        `-inf` along directions that the map annihilates, NaN (with a flag) where a system diverged
        in its first segment.
        """
        used = ~torch.isnan(self.increments)
        total = torch.where(used, self.increments, 0.0).sum(0)
        steps = (used * self.segment_steps.view(-1, 1, 1)).sum(0)
        return torch.where(steps > 0, total / steps, torch.nan)

    @property
    def value(self) -> Tensor:
        """The largest exponent, `(M,)`."""
        return self.values[:, 0]

    @property
    def weight_value(self) -> Tensor:
        """Growth of the leading tangent in the norm over the weights, `(M,)`.

        Over a long run the same as `value`. Over a short one it is what `from_neighbours` measures,
        whereas `values` count the part that goes into momentum and moments as growth too.
        """
        used = ~torch.isnan(self.weight_increments)
        total = torch.where(used, self.weight_increments, 0.0).sum(0)
        steps = (used * self.segment_steps.unsqueeze(1)).sum(0)
        return torch.where(steps > 0, total / steps, torch.nan)

    @property
    def sum(self) -> Tensor:
        """Sum of the `k` exponents, `(M,)`: growth of a k-dimensional volume.

        With all `D` of them it is the mean of `ln |det J|`, whatever the trajectory and from the
        first step on: `P ln(momentum)` for the heavy ball.
        """
        return self.values.sum(-1)

    @property
    def entropy_rate(self) -> Tensor:
        """Sum of the positive exponents, `(M,)`: Pesin's bound on the Kolmogorov-Sinai entropy."""
        return self.values.clamp(min=0.0).sum(-1)

    @property
    def finite_time_maximum(self) -> Tensor:
        """Growth over the horizon of the direction that grows most, `(M,)`.

        The largest singular value of the product of Jacobians: exact with all `D` tangents, a
        lower bound with fewer (the maximum over the first frame).
        """
        return self.largest_growth * self.scale

    @property
    def quantity(self) -> Quantity:
        """Which of the growth rates `values` are."""
        return Quantity.FINITE_TIME_EXPONENT

    @property
    def convergence(self) -> Tensor:
        """The exponents as they were after every segment, `(segments, M, k)`."""
        return self.increments.cumsum(0) / self.segment_steps.cumsum(0).view(-1, 1, 1)

    def kaplan_yorke_dimension(self) -> Tensor:
        """Kaplan-Yorke dimension of the attractor, `(M,)`.

            D_KY = j + (lambda_1 + ... + lambda_j) / |lambda_{j+1}|,

        j being the largest number whose sum is not negative. 0 where all exponents are negative, D
        where no sum is. NaN, with the flag `truncated`, where `k` exponents do not reach so far.

        Source: Kaplan & Yorke 1979, Lecture Notes in Mathematics 730, 204.
        """
        values = self.values
        sums = values.cumsum(-1)
        # Sums that are zero but for rounding (conservative maps) count as zero.
        scale = torch.where(torch.isfinite(values), values, 0.0).abs().sum(-1, keepdim=True)
        tolerance = 64 * torch.finfo(values.dtype).eps * scale
        count = (sums >= -tolerance).cumprod(-1).sum(-1)  # j
        padded_sums = torch.cat([torch.zeros_like(sums[:, :1]), sums], -1)
        padded = torch.cat([values, torch.full_like(values[:, :1], -torch.inf)], -1)
        index = count.unsqueeze(-1)
        total, following = padded_sums.gather(-1, index)[:, 0], padded.gather(-1, index)[:, 0]
        dimension = count + total.clamp(min=0.0) / following.abs()
        is_known = (count < values.shape[-1]) | self._is_full()
        return torch.where(is_known & ~torch.isnan(values).any(-1), dimension, torch.nan)

    def interval(
        self, level: float = 0.95, over: Over = "time", *, replicas: int | None = None
    ) -> Interval:
        """Confidence intervals of `values`, in the same unit; see `Exponent.interval`.

        Args:
            level: Confidence level, between 0 and 1.
            over: `time` (for the asymptotic exponents) or `replicas` (systems of one configuration
                with different seeds, for its finite-time exponents).
            replicas: How many consecutive systems are one configuration; `None` takes all.

        Returns:
            Low and high, each `(M, k)` (with replicas `(M / replicas, k)`); NaN where there is
            nothing to average over.
        """
        check_level(level)
        if over == "time":
            low, high = mean_interval_over_time(self.increments, self.segment_steps, level)
            known = torch.isfinite(self.values)
            low, high = torch.where(known, low, torch.nan), torch.where(known, high, torch.nan)
        elif over == "replicas":
            low, high = replica_interval(self.values, replicas, level)
        else:
            raise UserError(f"over must be 'time' or 'replicas' for a spectrum, not {over!r}")
        return Interval.of(
            low,
            high,
            level=level,
            over=over,
            quantity=self.quantity,
            unit=self.unit,
            per=self.per,
        )

    def estimand(self, over: Over) -> str:
        """What an interval over `over` is an interval for, in words."""
        return estimand_of(self.quantity, over)

    def has_flag(self, name: str) -> list[bool]:
        """Which systems have the flag `name`."""
        return f.has_flag(self.flags, name)

    def in_units(
        self,
        base: float = math.e,
        per: Per = "step",
        *,
        steps_per_epoch: int | None = None,
        dt: float | Tensor | None = None,
    ) -> Spectrum:
        """The same exponents in other units; see `Exponent.in_units`.

        Example:
            >>> from lyapopt.exponents import spectrum
            >>> s = spectrum(lambda z, t: z / 4, torch.ones(1, 1, 1).double(), 3)
            >>> s.in_units(base=2).values.item(), s.in_units(per="time", dt=0.5).per
            (-2.0, 'time')
        """
        epoch = self.steps_per_epoch if steps_per_epoch is None else steps_per_epoch
        factor = conversion(base, per, epoch, dt, self.increments)
        change = factor / self.scale
        return dataclasses.replace(
            self,
            increments=self.increments * change.unsqueeze(-1),
            weight_increments=self.weight_increments * change,
            scale=factor,
            unit=unit_name(base),
            per=per,
        )

    def select(self, rows: Sequence[int]) -> Spectrum:
        """The exponents of some of the systems."""
        chosen: dict[str, Any] = {
            "increments": self.increments[:, rows],
            "weight_increments": self.weight_increments[:, rows],
            "alignment": None if self.alignment is None else self.alignment[:, rows],
            "largest_growth": self.largest_growth[rows],
            "final_state": self.final_state[rows],
            "final_tangents": self.final_tangents[rows],
            "flags": tuple(self.flags[row] for row in rows),
            "scale": self.scale if self.scale.dim() == 0 else self.scale[rows],
        }
        return dataclasses.replace(self, **chosen)

    def _is_full(self) -> bool:
        """Whether there are as many exponents as dimensions."""
        return self.increments.shape[-1] == self.final_tangents.shape[-1]
