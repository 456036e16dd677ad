"""The result of measuring the largest exponent of many systems."""

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
from lyapopt.exponents.flags import Flag
from lyapopt.exponents.interval import Interval, Over, estimand_of
from lyapopt.exponents.intervals import mean_interval_over_replicas, mean_interval_over_time
from lyapopt.exponents.quantities import Quantity
from lyapopt.exponents.units import Per, conversion, unit_name

__all__ = ["Exponent", "Over", "replica_interval"]


@dataclass(frozen=True, eq=False, repr=False)
class Exponent:
    """Largest finite-time Lyapunov exponents of `M` systems, with all that they were made from.

    Attributes:
        increments: Log growth of the mean separation in every segment, `(segments, M)`; NaN from a
            divergence on.
        segment_steps: Steps of every segment, `(segments,)`.
        growth: Growth factor of every neighbour in every segment over the mean growth factor,
            `(segments, M, K)`.
        log_separations: Log separation of every neighbour as if it had never been rescaled,
            `(horizon + 1, M, K)`, natural logarithm.
        losses: Losses at every step, `(horizon, M, 1 + K)`, reference first; `None` if the map has
            none.
        final_state: State of the references after the last step, `(M, 1, D)` (`D = 0` where systems
            of different structures were joined).
        flags: Remarks on every system's estimate.
        gradient_evaluations: Gradients spent on each system, neighbours and burn-in included
            (steps of the map, where the map is no training).
        horizon, neighbours, radius, segment, burn_in, distance, redraw: How it was measured.
        alignment: Mean absolute cosine between the first neighbour's direction and the others' at
            the end, `(M,)`: 1 where all have turned into the direction of fastest growth. `None`
            with one neighbour or with `redraw`.
        linearity_error: Absolute difference to the exponent at a tenth of the radius, `(M,)`;
            `None` unless `check_linearity` was asked for.
        forward_passes: Forward passes spent on each system beside the gradients (`outputs`).
        steps_per_epoch: Of the map, `None` if it has no epochs.
        unit, per: Unit of `value`, `increments` and `interval`: nats per step unless converted.
    """

    increments: Tensor
    segment_steps: Tensor
    growth: Tensor
    log_separations: Tensor
    losses: Tensor | None
    final_state: Tensor
    flags: tuple[tuple[Flag, ...], ...]
    gradient_evaluations: int
    horizon: int
    neighbours: int
    radius: float
    segment: int
    burn_in: int
    distance: str
    redraw: bool
    alignment: Tensor | None = None
    linearity_error: Tensor | None = None
    forward_passes: int = 0
    steps_per_epoch: int | None = None
    unit: str = "nats"
    per: str = "step"
    scale: Tensor = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    def __repr__(self) -> str:
        return (
            f"Exponent({self.value}, {self.unit} per {self.per}: {self.quantity} in "
            f"{self.distance}, horizon={self.horizon}, neighbours={self.neighbours}, "
            f"segment={self.segment}, burn_in={self.burn_in}, flags={f.counted(self.flags)})"
        )

    @property
    def value(self) -> Tensor:
        """The exponents, `(M,)`: mean growth per step over the segments before any divergence.

        Eq. 4: the logarithm is taken of the mean separation. `-inf` where separations became zero,
        NaN (with a flag) where a system diverged in its first segment.
        """
        used = ~torch.isnan(self.increments)
        total = torch.where(used, self.increments, 0.0).sum(0)
        steps = self._steps_used()
        return torch.where(steps > 0, total / steps, torch.nan)

    @property
    def quantity(self) -> Quantity:
        """Which of the growth rates this is."""
        return Quantity.ISOTROPIC_GROWTH if self.redraw else Quantity.FINITE_TIME_EXPONENT

    @property
    def values_per_neighbour(self) -> Tensor:
        """Mean log growth of every neighbour on its own, `(M, K)` (mean of logs, not Eq. 4)."""
        steps = self._steps_used()
        last = steps.view(1, -1, 1).expand(1, -1, self.log_separations.shape[-1])
        end = self.log_separations.gather(0, last)[0]
        rate = (end - self.log_separations[0]) / steps.unsqueeze(-1)
        return torch.where(steps.unsqueeze(-1) > 0, rate, torch.nan) * self.scale.unsqueeze(-1)

    @property
    def mean_log(self) -> Tensor:
        """Mean over neighbours of their own growth rates, `(M,)`.

        For separations in the weights it is at most `value` (Jensen), and equal to it once all
        neighbours point the same way.
        """
        return self.values_per_neighbour.mean(-1)

    @property
    def convergence(self) -> Tensor:
        """The exponent as it was after every segment, `(segments, M)`; NaN after a divergence."""
        return self.increments.cumsum(0) / self.segment_steps.cumsum(0).unsqueeze(-1)

    def interval(
        self, level: float = 0.95, over: Over = "time", *, replicas: int | None = None
    ) -> Interval:
        """Confidence interval of `value`, in the same unit.

        Args:
            level: Confidence level, between 0 and 1.
            over: What is averaged over, which decides what the interval is for:

                - `time`: the increments of one run, with their serial correlation, for the
                  asymptotic exponent (of a run that goes on in the same way; with `redraw` for its
                  mean isotropic growth);
                - `neighbours`: independent directions, for this run's finite-time exponent;
                - `replicas`: systems of one configuration with different seeds, for the finite-time
                  exponent of the configuration.
            replicas: With `over="replicas"`, how many consecutive systems are one configuration;
                `None` takes all.

        Returns:
            Low and high, each `(M,)` (with replicas `(M / replicas,)`). NaN where there are fewer
            than 20 segments, 2 neighbours or 2 replicas to average over.

        Raises:
            UserError: If an argument is out of its range.
        """
        check_level(level)
        if over == "time":
            low, high = mean_interval_over_time(self.increments, self.segment_steps, level)
        elif over == "neighbours":
            # Delta method: a neighbour moves the log of the mean by its relative excess.
            steps = self._steps_used().unsqueeze(-1)
            excess = (self.growth - 1).sum(0) * self.scale.unsqueeze(-1) / steps
            low, high = mean_interval_over_replicas(self.value.unsqueeze(-1) + excess, level)
        elif over == "replicas":
            low, high = replica_interval(self.value, replicas, level)
        else:
            raise UserError(f"over must be 'time', 'neighbours' or 'replicas', not {over!r}")
        if over != "replicas":
            known = torch.isfinite(self.value)
            low, high = torch.where(known, low, torch.nan), torch.where(known, high, torch.nan)
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
    ) -> Exponent:
        """The same exponents in other units, whatever units these are in.

        Args:
            base: Base of the logarithm: e for nats, 2 for bits.
            per: `step`; `epoch` (`steps_per_epoch`, by default the map's own); `time` of the
                gradient flow (needs `dt`, the learning rate, one number or `(M,)`). With `dt` the
                learning rate, a ranking over learning rates is divided by it: do not mix units in
                an objective.

        Raises:
            UserError: If a number that the unit needs is missing or out of range.

        Example:
            >>> from lyapopt.exponents import from_neighbours
            >>> e = from_neighbours(lambda z, t: 2 * z, torch.ones(1, 1, 3).double(), 4)
            >>> bits = e.in_units(base=2)
            >>> round(bits.value.item(), 6), bits.unit, bits.per
            (1.0, 'bits', 'step')
            >>> round(e.in_units(per="time", dt=0.1).value.item(), 4)
            6.9315
        """
        epoch = self.steps_per_epoch if steps_per_epoch is None else steps_per_epoch
        factor = conversion(base, per, epoch, dt, self.increments)
        change = factor / self.scale
        error = self.linearity_error
        return dataclasses.replace(
            self,
            increments=self.increments * change,
            linearity_error=None if error is None else error * change,
            scale=factor,
            unit=unit_name(base),
            per=per,
        )

    def select(self, rows: Sequence[int]) -> Exponent:
        """The exponents of some of the systems.

        Example:
            >>> from lyapopt.exponents import from_neighbours
            >>> e = from_neighbours(lambda z, t: 2 * z, torch.ones(3, 1, 2).double(), 4)
            >>> e.select([0, 2]).value.shape
            torch.Size([2])
        """
        chosen: dict[str, Any] = {
            "increments": self.increments[:, rows],
            "growth": self.growth[:, rows],
            "log_separations": self.log_separations[:, rows],
            "losses": None if self.losses is None else self.losses[:, rows],
            "final_state": self.final_state[rows],
            "flags": tuple(self.flags[row] for row in rows),
            "alignment": None if self.alignment is None else self.alignment[rows],
            "linearity_error": (
                None if self.linearity_error is None else self.linearity_error[rows]
            ),
            "scale": self.scale if self.scale.dim() == 0 else self.scale[rows],
        }
        return dataclasses.replace(self, **chosen)

    def _steps_used(self) -> Tensor:
        """Steps before the divergence of each system, `(M,)`."""
        return ((~torch.isnan(self.increments)) * self.segment_steps.unsqueeze(1)).sum(0)


def replica_interval(values: Tensor, replicas: int | None, level: float) -> tuple[Tensor, Tensor]:
    """Interval of the mean over blocks of `replicas` consecutive systems, `(M, ...)`."""
    systems = len(values)
    count = systems if replicas is None else replicas
    if isinstance(count, bool) or not isinstance(count, int) or count < 1 or systems % count:
        raise UserError(f"replicas must divide the {systems} systems, not {replicas!r}")
    blocks = values.view(systems // count, count, *values.shape[1:]).movedim(1, -1)
    return mean_interval_over_replicas(blocks, level)
