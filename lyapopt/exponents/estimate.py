"""What every estimator returns: growth rates with their units, intervals, flags and cost."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self, TypeVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lyapopt.exponents.checks import check_level
from lyapopt.exponents.flags import Flag, counted, has_flag
from lyapopt.exponents.intervals import (
    Interval,
    Over,
    estimand_of,
    interval_over_blocks,
    mean_interval_over_time,
)
from lyapopt.exponents.quantities import Per, Quantity, conversion, unit_name
from lyapopt.notebook import html_table

_SHOWN_RATES = 6  # of a spectrum, in a notebook's table


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Estimate:
    """Growth rates of `M` systems: what `Exponent` and `Spectrum` share.

    Their own docstrings say what each of the attributes holds.
    """

    increments: Float[Tensor, "segments systems *exponents"]
    segment_steps: Int[Tensor, " segments"]
    alignment: Float[Tensor, "... systems"] | None = None
    final_state: Float[Tensor, "systems 1 dim"]
    flags: tuple[tuple[Flag, ...], ...] = ()
    gradient_evaluations: int
    horizon: int
    burn_in: int
    steps_per_epoch: int | None = None
    unit: str = "nats"
    per: str = "step"
    scale: Float[Tensor, ...] = field(default_factory=lambda: torch.ones((), dtype=torch.float64))

    _systems_axis: ClassVar[Mapping[str, int]] = {
        "increments": 1,
        "alignment": -1,
        "final_state": 0,
    }
    """The axis of systems in every tensor that has one."""
    _in_unit: ClassVar[tuple[str, ...]] = ("increments",)
    """Tensors that are in the unit of the estimate."""
    _settings: ClassVar[tuple[str, ...]] = ("horizon", "burn_in")
    """Settings that the representation names."""

    def __repr__(self) -> str:
        settings = ", ".join(f"{name}={getattr(self, name)}" for name in self._settings)
        return (
            f"{type(self).__name__}({self._rates}, {self.unit} per {self.per}: {self._measured}, "
            f"{settings}, flags={counted(self.flags)})"
        )

    def _repr_html_(self) -> str:
        """What a notebook shows: the growth rates of the first systems, with their flags."""
        rates = self._rates.reshape(len(self._rates), -1)
        low, high = (end.reshape(rates.shape) for end in self._usual_interval())
        names = ["exponent"] if rates.shape[1] == 1 else [f"λ{i + 1}" for i in range(_SHOWN_RATES)]
        names = names[: rates.shape[1]]
        rows = [
            [row, *rates[row, : len(names)].tolist(), low[row, 0].item(), high[row, 0].item(),
             ", ".join(flag.name for flag in flags)]
            for row, flags in enumerate(self.flags or ((),) * len(rates))
        ]  # fmt: skip
        settings = ", ".join(f"{name} {getattr(self, name)}" for name in self._settings)
        title = f"{type(self).__name__}: {self._measured}, {self.unit} per {self.per}"
        heads = ["system", *names, f"{names[0]} from", "to (95 %)", "flags"]
        return html_table(title, heads, rows, [settings])

    def _usual_interval(self) -> Interval:
        """The interval that is shown where none is asked for."""
        return self.interval()

    @property
    def quantity(self) -> Quantity:
        """Which of the growth rates this is."""
        return Quantity.FINITE_TIME_EXPONENT

    @property
    def convergence(self) -> Float[Tensor, "segments systems *exponents"]:
        """The growth rates as they were after every segment; NaN where that has no increment."""
        used = ~torch.isnan(self.increments)
        total = torch.where(used, self.increments, 0.0).cumsum(0)
        steps = (used * _align(self.segment_steps, 0, self.increments)).cumsum(0)
        return torch.where(used, total / steps, torch.nan)

    def interval(
        self, level: float = 0.95, over: Over = "time", *, replicas: int | None = None
    ) -> Interval:
        """Confidence intervals of the growth rates, in the same unit.

        Args:
            level: Confidence level, between 0 and 1.
            over: What is averaged over, which decides what the interval is for:

                - `time`: the increments of one run, with their serial correlation, for the
                  asymptotic exponent (of a run that goes on in the same way; with `redraw` for its
                  mean isotropic growth);
                - `neighbours` (not of a spectrum): independent directions, for this run's
                  finite-time exponent;
                - `replicas`: systems of one configuration with different seeds, for the finite-time
                  exponent of the configuration.
            replicas: With `over="replicas"`, how many consecutive systems are one configuration;
                `None` takes all.

        Returns:
            Low and high, each `(M,)`, or `(M, k)` of a spectrum (with replicas `M / replicas` rows
            instead of `M`). NaN where there are fewer than 20 segments, 2 neighbours or 2 replicas
            to average over.

        Raises:
            UserError: If an argument is out of its range.
        """
        check_level(level)
        if over == "replicas":
            low, high = interval_over_blocks(self._rates, replicas, level)
        else:
            low, high = self._interval_of_run(level, over)
            known = torch.isfinite(self._rates)
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
        return has_flag(self.flags, name)

    def in_units(
        self,
        base: float = math.e,
        per: Per = "step",
        *,
        steps_per_epoch: int | None = None,
        dt: float | Tensor | None = None,
    ) -> Self:
        """The same growth rates in other units, whatever units these are in.

        Args:
            base: Base of the logarithm: e for nats, 2 for bits.
            per: `step`; `epoch` (`steps_per_epoch`, by default the map's own); `time` of the
                gradient flow (needs `dt`, the learning rate, one number or `(M,)`). With `dt` the
                learning rate, a ranking over learning rates is divided by it: do not mix units in
                an objective.
            steps_per_epoch: Steps of an epoch, if not the map's own.
            dt: Time that one step takes: one number, or one a system `(M,)`.

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
        converted: dict[str, Any] = {}
        for name in self._in_unit:
            value = getattr(self, name)
            if value is not None:
                converted[name] = value * _align(change, self._systems_axis[name], value)
        return dataclasses.replace(self, **converted, scale=factor, unit=unit_name(base), per=per)

    def select(self, rows: Sequence[int]) -> Self:
        """The growth rates of some of the systems.

        Example:
            >>> from lyapopt.exponents import from_neighbours
            >>> e = from_neighbours(lambda z, t: 2 * z, torch.ones(3, 1, 2).double(), 4)
            >>> e.select([0, 2]).value.shape
            torch.Size([2])
        """
        chosen: dict[str, Any] = {"flags": tuple(self.flags[row] for row in rows)}
        for name, axis in self._systems_axis.items():
            value = getattr(self, name)
            if value is not None:
                chosen[name] = value[..., rows] if axis < 0 else value[*[slice(None)] * axis, rows]
        if self.scale.dim():
            chosen["scale"] = self.scale[rows]
        return dataclasses.replace(self, **chosen)

    @property
    def _rates(self) -> Float[Tensor, " systems *exponents"]:
        """The growth rates, whatever the estimator calls them."""
        return self._mean_growth(self.increments)

    @property
    def _measured(self) -> str:
        """What was measured, as the representation says it."""
        return str(self.quantity)

    def _mean_growth(
        self, increments: Float[Tensor, "segments systems *exponents"]
    ) -> Float[Tensor, " systems *exponents"]:
        """Mean growth per step over the segments that have an increment."""
        used = ~torch.isnan(increments)
        total = torch.where(used, increments, 0.0).sum(0)
        steps = (used * _align(self.segment_steps, 0, increments)).sum(0)
        return torch.where(steps > 0, total / steps, torch.nan)

    def _interval_of_run(self, level: float, over: Over) -> tuple[Tensor, Tensor]:
        """Low and high of an interval over what is in a single run: of all estimates, its time."""
        return mean_interval_over_time(self.increments, self.segment_steps, level)


AnyEstimate = TypeVar("AnyEstimate", bound=Estimate)


def join(estimates: Sequence[AnyEstimate], order: Sequence[int]) -> AnyEstimate:
    """One estimate of the systems of several stacks.

    Args:
        estimates: Of one measurement each, with equal settings.
        order: The place of every system in the joined estimate, `(M,)`.
    """
    first = estimates[0]
    joined: dict[str, Any] = {}
    for name, axis in first._systems_axis.items():
        parts = [getattr(estimate, name) for estimate in estimates]
        if parts[0] is not None:
            joined[name] = torch.cat(_of_one_width(parts) if axis == 0 else parts, axis)
    epochs = {estimate.steps_per_epoch for estimate in estimates}
    joined["flags"] = tuple(flags for estimate in estimates for flags in estimate.flags)
    joined["steps_per_epoch"] = epochs.pop() if len(epochs) == 1 else None
    joined["gradient_evaluations"] = max(each.gradient_evaluations for each in estimates)
    rows = sorted(range(len(order)), key=lambda i: order[i])
    return dataclasses.replace(first, **joined).select(rows)


def _of_one_width(parts: list[Tensor]) -> list[Tensor]:
    """States of different dimensions have nothing to be joined along: they are left out."""
    widths = {part.shape[-1] for part in parts}
    is_state = parts[0].dim() == 3
    return [part[..., :0] for part in parts] if is_state and len(widths) > 1 else parts


def _align(values: Tensor, axis: int, like: Tensor) -> Tensor:
    """`values`, `()` or `(n,)`, shaped to lie along an axis of `like`, counted from the front."""
    return values if values.dim() == 0 else values.view(-1, *(1,) * (like.dim() - axis - 1))
