"""The results of measuring many systems: their largest exponent, or their largest few."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.errors import UserError
from lyapopt.exponents.estimate import Estimate
from lyapopt.exponents.growth import Average
from lyapopt.exponents.intervals import Interval, Over, mean_interval_over_replicas
from lyapopt.exponents.quantities import Quantity
from lyapopt.exponents.tables import exponent_table, log_table, rate_table, row_of

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Exponent(Estimate):
    """Largest finite-time Lyapunov exponents of `M` systems, with all that they were made from.

    Attributes:
        increments: Mean over neighbours of their log growth in every segment, `(segments, M)` (log
            growth of their mean separation, where `average` is `paper`); NaN from a divergence on,
            and in segments in which rounding swallowed a separation (the flag `precision`).
        segment_steps: Steps of every segment, `(segments,)`.
        growth: Growth factor of every neighbour in every segment over the mean growth factor,
            `(segments, M, K)`.
        log_separations: Log separation of every neighbour as if it had never been rescaled,
            `(horizon + 1, M, K)`, natural logarithm.
        losses: Losses at every step, `(horizon, M, 1 + K)`, reference first; `None` if the map has
            none.
        final_state: State of the references after the last step, `(M, 1, D)` (`D = 0` where systems
            of different structures were joined).
        flags: What to know of every system's estimate before trusting it.
        gradient_evaluations: Gradients spent on each system, neighbours and burn-in included
            (steps of the map, where the map is no training).
        horizon, neighbours, radius, segment, burn_in, distance, redraw, average: How it was
            measured.
        alignment: Mean absolute cosine between the first neighbour's direction and the others' at
            the end, `(M,)`: 1 where all have turned into the direction of fastest growth. `None`
            with one neighbour or with `redraw`.
        linearity_error: Absolute difference to the exponent at a tenth of the radius, `(M,)`;
            `None` unless `check_linearity` was asked for.
        forward_passes: Forward passes spent on each system beside the gradients (`outputs`).
        steps_per_epoch: Of the map, `None` if it has no epochs.
        unit, per: Unit of `value`, `increments` and `interval`: nats per step unless converted.
        scale: What nats per step were multiplied by, `()` or `(M,)`.
    """

    growth: Float[Tensor, "segments systems neighbours"]
    log_separations: Float[Tensor, "times systems neighbours"]
    losses: Float[Tensor, "steps systems trajectories"] | None
    neighbours: int
    radius: float
    segment: int
    distance: str
    redraw: bool
    average: Average
    linearity_error: Float[Tensor, " systems"] | None = None
    forward_passes: int = 0

    _systems_axis: ClassVar[Mapping[str, int]] = {
        **Estimate._systems_axis,
        "growth": 1,
        "log_separations": 1,
        "losses": 1,
        "linearity_error": 0,
    }
    _in_unit: ClassVar[tuple[str, ...]] = ("increments", "linearity_error")
    _settings: ClassVar[tuple[str, ...]] = ("horizon", "neighbours", "segment", "burn_in")

    @property
    def value(self) -> Float[Tensor, " systems"]:
        """The exponents, `(M,)`: mean growth per step over the segments before any divergence.

        Eq. 4, with the mean over neighbours taken of the logarithms, or before them where `average`
        is `paper`. `-inf` where all separations became zero, NaN (with a flag) where a system
        diverged in its first segment, or rounding left nothing of any.
        """
        return self._rates

    @property
    def quantity(self) -> Quantity:
        """Which of the growth rates `value` is."""
        return Quantity.ISOTROPIC_GROWTH if self.redraw else Quantity.FINITE_TIME_EXPONENT

    @property
    def values_per_neighbour(self) -> Float[Tensor, "systems neighbours"]:
        """Mean log growth of every neighbour on its own, `(M, K)`."""
        steps = self._steps_used()
        ends = self.segment_steps.cumsum(0).unsqueeze(1)
        last = (~torch.isnan(self.increments) * ends).amax(0).view(1, -1, 1)
        last = last.expand(1, -1, self.log_separations.shape[-1])
        end = self.log_separations.gather(0, last)[0]
        rate = (end - self.log_separations[0]) / steps.unsqueeze(-1)
        return torch.where(steps.unsqueeze(-1) > 0, rate, torch.nan) * self.scale.unsqueeze(-1)

    @property
    def mean_log(self) -> Float[Tensor, " systems"]:
        """Mean over neighbours of their own growth rates, `(M,)`.

        The same as `value`, unless `average` is `paper`: then it is at most `value` for separations
        in the weights (Jensen), and equal to it once all neighbours point the same way.
        """
        return self.values_per_neighbour.mean(-1)

    def figure(self, system: int | None = None) -> go.Figure:
        """Separations of the neighbours of one system, or the exponents of several as they settle.

        Args:
            system: Which one; of several systems by default all of them.

        Raises:
            UserError: If there is no such system.

        Example:
            >>> from lyapopt.exponents import from_neighbours
            >>> e = from_neighbours(lambda z, t: 2 * z, torch.ones(1, 1, 3).double(), 4)
            >>> e.figure().layout.title.text
            'Separation of the neighbours'
        """
        # plotly is slow to import, and not every result is drawn.
        from lyapopt.figures import separations, spectrum_over_time

        if system is None and len(self.value) != 1:
            names = [f"system {row}" for row in range(len(self.value))]
            title = "Exponents over time"
            rates = rate_table(self.convergence, self.segment_steps)
            return spectrum_over_time(
                rates, names=names, unit=f"{self.unit} per {self.per}", title=title
            )
        row = row_of(system or 0, len(self.value))
        nats = self.in_units()
        low, high = nats._usual_interval()
        value, low_end, high_end = (float(each[row]) for each in (nats.value, low, high))
        measured = exponent_table(value, low_end, high_end, self.segment)
        return separations(log_table(self.log_separations[:, row]), measured)

    def _usual_interval(self) -> Interval:
        return self.interval(over="neighbours" if self.neighbours > 1 else "time")

    @property
    def _measured(self) -> str:
        return f"{self.quantity} in {self.distance}"

    def _steps_used(self) -> Tensor:
        """Steps that each system was measured over, `(M,)`."""
        return ((~torch.isnan(self.increments)) * self.segment_steps.unsqueeze(1)).sum(0)

    def _interval_of_run(self, level: float, over: Over) -> tuple[Tensor, Tensor]:
        if over == "time":
            return super()._interval_of_run(level, over)
        if over != "neighbours":
            raise UserError(f"over must be 'time', 'neighbours' or 'replicas', not {over!r}")
        if self.average == "logs":
            return mean_interval_over_replicas(self.values_per_neighbour, level)
        # Delta method: a neighbour moves the log of the mean by its relative excess.
        steps = self._steps_used().unsqueeze(-1)
        excess = (self.growth - 1).sum(0) * self.scale.unsqueeze(-1) / steps
        return mean_interval_over_replicas(self.value.unsqueeze(-1) + excess, level)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Spectrum(Estimate):
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
        flags: What to know of every system's estimate before trusting it.
        gradient_evaluations: Gradients spent on each system, a tangent step counted as 2.
        horizon, qr_every, burn_in: How it was measured.
        steps_per_epoch: Of the map, `None` if it has no epochs.
        unit, per: Unit of all numbers but `largest_growth`: nats per step unless converted.
        scale: What nats per step were multiplied by, `()` or `(M,)`.
    """

    weight_increments: Float[Tensor, "segments systems"]
    largest_growth: Float[Tensor, " systems"]
    final_tangents: Float[Tensor, "systems exponents dim"]
    qr_every: int

    _systems_axis: ClassVar[Mapping[str, int]] = {
        **Estimate._systems_axis,
        "weight_increments": 1,
        "largest_growth": 0,
        "final_tangents": 0,
    }
    _in_unit: ClassVar[tuple[str, ...]] = ("increments", "weight_increments")
    _settings: ClassVar[tuple[str, ...]] = ("horizon", "qr_every", "burn_in")

    @property
    def values(self) -> Float[Tensor, "systems exponents"]:
        """The exponents, `(M, k)`, in descending order.

        `-inf` along directions that the map annihilates, NaN (with a flag) where a system diverged
        in its first segment.
        """
        return self._rates

    @property
    def value(self) -> Float[Tensor, " systems"]:
        """The largest exponent, `(M,)`."""
        return self.values[:, 0]

    @property
    def weight_value(self) -> Float[Tensor, " systems"]:
        """Growth of the leading tangent in the norm over the weights, `(M,)`.

        Over a long run the same as `value`. Over a short one it is what `from_neighbours` measures,
        whereas `values` count the part that goes into momentum and moments as growth too.
        """
        return self._mean_growth(self.weight_increments)

    @property
    def sum(self) -> Float[Tensor, " systems"]:
        """Sum of the `k` exponents, `(M,)`: growth of a k-dimensional volume.

        With all `D` of them it is the mean of `ln |det J|`, whatever the trajectory and from the
        first step on: `P ln(momentum)` for the heavy ball.
        """
        return self.values.sum(-1)

    @property
    def entropy_rate(self) -> Float[Tensor, " systems"]:
        """Sum of the positive exponents, `(M,)`: Pesin's bound on the Kolmogorov-Sinai entropy."""
        return self.values.clamp(min=0.0).sum(-1)

    @property
    def finite_time_maximum(self) -> Float[Tensor, " systems"]:
        """Growth over the horizon of the direction that grows most, `(M,)`.

        The largest singular value of the product of Jacobians: exact with all `D` tangents, a
        lower bound with fewer (the maximum over the first frame).
        """
        return self.largest_growth * self.scale

    def kaplan_yorke_dimension(self) -> Float[Tensor, " systems"]:
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

    def figure(self, system: int = 0) -> go.Figure:
        """The exponents of one system as they settle, step by step.

        Args:
            system: Which one.

        Raises:
            UserError: If there is no such system.

        Example:
            >>> from lyapopt.exponents import spectrum
            >>> s = spectrum(lambda z, t: 2 * z, torch.ones(1, 1, 2).double(), 4)
            >>> [trace.name for trace in s.figure().data]
            ['λ1 = 0.693', 'λ2 = 0.693']
        """
        from lyapopt.figures import spectrum_over_time  # plotly: slow to import

        row = row_of(system, len(self.value))
        rates = rate_table(self.convergence[:, row], self.segment_steps)
        return spectrum_over_time(rates, unit=f"{self.unit} per {self.per}")

    def _interval_of_run(self, level: float, over: Over) -> tuple[Tensor, Tensor]:
        if over != "time":
            raise UserError(f"over must be 'time' or 'replicas' for a spectrum, not {over!r}")
        return super()._interval_of_run(level, over)

    def _is_full(self) -> bool:
        """Whether there are as many exponents as dimensions."""
        return self.increments.shape[-1] == self.final_tangents.shape[-1]
