"""The learning rate of an optimiser as one number, whatever its groups and schedules.

It is the largest rate of the first group, as far as that is known: where a schedule warms up it is
what the weights have to bear.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from lyapopt.errors import TrainingError

_RATES = ("initial_lr", "max_lr", "min_lr")  # of a group, that its schedule goes by
_KEPT_RATES = ("base_lrs", "max_lrs", "max_lr", "min_lr")  # that a schedule keeps itself
_LARGEST = ("max_lrs", "max_lr")  # among them


def at_rate(optimizer: torch.optim.Optimizer, rate: float) -> torch.optim.Optimizer:
    """An optimiser with another rate over the same parameters, which is read and never stepped.

    Groups keep their ratio to the first one, whatever a schedule has made of them.

    Raises:
        TrainingError: If there is no ratio, since the rate of the first group is zero.
    """
    own = object.__new__(type(optimizer))
    vars(own).update({k: v for k, v in vars(optimizer).items() if k != "step"})
    own.param_groups = [
        {**group, "lr": rate * share}
        for group, share in zip(optimizer.param_groups, _shares(peaks(optimizer)), strict=True)
    ]
    return own


def set_rate(optimizer: torch.optim.Optimizer, schedulers: Iterable[Any], rate: float) -> None:
    """Give an optimiser that has taken no step another rate, and its schedules with it.

    Args:
        optimizer: Changed in place; groups keep their ratio to the first one.
        schedulers: Those of `torch.optim.lr_scheduler` that are set up already.
        rate: The largest of the first group: that of a plain one, the rate from which a schedule
            lowers or raises it, and the peak of one that keeps its own (`OneCycleLR`, `CyclicLR`).

    Example:
        >>> sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> halved = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 0.5)
        >>> set_rate(sgd, [halved], 0.2)
        >>> sgd.param_groups[0]["lr"], halved.base_lrs
        (0.1, [0.2])
    """
    schedulers = list(schedulers)
    before = peaks(optimizer, schedulers)
    after = [rate * share for share in _shares(before)]
    for group, old, new in zip(optimizer.param_groups, before, after, strict=True):
        factor = new / old if old else 1.0
        for name in _RATES:
            if name in group:
                group[name] = _scaled(group[name], factor)
        is_plain = "initial_lr" not in group
        group["lr"] = new if is_plain else _scaled(group["lr"], factor)
    for scheduler in schedulers:
        _scale(
            scheduler, [new / old if old else 1.0 for old, new in zip(before, after, strict=True)]
        )


def peaks(optimizer: torch.optim.Optimizer, schedulers: Iterable[Any] = ()) -> list[float]:
    """The largest rate of every parameter group, as far as it is known.

    Args:
        optimizer: Whose groups are looked at.
        schedulers: Schedules that may keep rates of their own.
    """
    own = [rates for scheduler in schedulers for rates in _largest_of(scheduler)]
    if own:
        return list(map(max, *own)) if len(own) > 1 else own[0]
    return [_peak(group) for group in optimizer.param_groups]


def _peak(group: dict[str, Any]) -> float:
    """The largest rate that the schedule of a parameter group is known to have."""
    known = [float(group[name]) for name in ("max_lr", "initial_lr") if name in group]
    return max(known, default=float(group["lr"]))


def _largest_of(scheduler: Any) -> Iterator[list[float]]:
    """The largest rates that a schedule keeps itself, whatever the optimiser had: one a group."""
    for name in _LARGEST:
        kept = getattr(scheduler, name, None)
        if isinstance(kept, list | np.ndarray):
            yield list(map(float, kept))
    for part in _parts(scheduler):
        yield from _largest_of(part)


def _parts(scheduler: Any) -> tuple[Any, ...]:
    """The schedules that one is made of."""
    return tuple(getattr(scheduler, "_schedulers", ()))


def _scale(scheduler: Any, factors: list[float]) -> None:
    """Scale what a schedule has kept of the rates, and what those that it is made of have."""
    for name in _KEPT_RATES:
        kept = getattr(scheduler, name, None)
        if isinstance(kept, np.ndarray):  # skorch's
            setattr(scheduler, name, kept * factors)
        elif isinstance(kept, list):
            setattr(scheduler, name, [a * b for a, b in zip(kept, factors, strict=True)])
    for part in _parts(scheduler):
        _scale(part, factors)


def _scaled(value: Any, factor: float) -> Any:
    return value * factor  # a tensor stays one


def _shares(rates: list[float]) -> list[float]:
    """The rate of every group by that of the first."""
    first, *others = rates
    if first == 0 and any(others):
        raise TrainingError(
            "the first parameter group has the learning rate 0 and another has not, so "
            "that the rates of the others have no ratio to it; give it a positive one"
        )
    return [1.0, *(1.0 if each == first else each / first for each in others)]
