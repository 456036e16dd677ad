"""The learning rate of an optimiser as one number, whatever its groups and schedules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from lyapopt.errors import TrainingError

_RATES = ("initial_lr", "max_lr", "min_lr")  # of a group, that its schedule goes by


def at_rate(optimizer: torch.optim.Optimizer, rate: float) -> torch.optim.Optimizer:
    """An optimiser with another rate over the same parameters, which is read and never stepped.

    Groups keep their ratio to the first one, at the start of a schedule where there is one.

    Raises:
        TrainingError: If there is no ratio, since the rate of the first group is zero.
    """
    own = object.__new__(type(optimizer))
    vars(own).update({k: v for k, v in vars(optimizer).items() if k != "step"})
    own.param_groups = [
        {**group, "lr": rate * share}
        for group, share in zip(optimizer.param_groups, _shares(optimizer), strict=True)
    ]
    return own


def set_rate(optimizer: torch.optim.Optimizer, schedulers: Iterable[Any], rate: float) -> None:
    """Give an optimiser that has taken no step another rate, and its schedules with it.

    Args:
        optimizer: Changed in place; groups keep their ratio to the first one.
        schedulers: Those of `torch.optim.lr_scheduler` that are set up already.
        rate: Of the first group, before any schedule.

    Example:
        >>> sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> halved = torch.optim.lr_scheduler.LambdaLR(sgd, lambda step: 0.5)
        >>> set_rate(sgd, [halved], 0.2)
        >>> sgd.param_groups[0]["lr"], halved.base_lrs
        (0.1, [0.2])
    """
    shares, before = _shares(optimizer), [_base(group) for group in optimizer.param_groups]
    after = [rate * share for share in shares]
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


def _scale(scheduler: Any, factors: list[float]) -> None:
    """Scale what a schedule has kept of the rates, and what those that it is made of have."""
    for name in ("base_lrs", "max_lrs"):
        kept = getattr(scheduler, name, None)
        if isinstance(kept, list):
            setattr(scheduler, name, [a * b for a, b in zip(kept, factors, strict=True)])
    for part in getattr(scheduler, "_schedulers", ()):
        _scale(part, factors)


def _scaled(value: Any, factor: float) -> Any:
    return value * factor  # a tensor stays one


def _base(group: dict[str, Any]) -> float:
    """The rate of a parameter group before its schedule."""
    return float(group.get("initial_lr", group["lr"]))


def _shares(optimizer: torch.optim.Optimizer) -> list[float]:
    """The rate of every group by that of the first."""
    first, *others = [_base(group) for group in optimizer.param_groups]
    if first == 0 and any(others):
        raise TrainingError(
            "the first parameter group has the learning rate 0 and another has not, so "
            "that the rates of the others have no ratio to it; give it a positive one"
        )
    return [1.0, *(1.0 if each == first else each / first for each in others)]
