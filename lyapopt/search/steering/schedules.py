"""Rates are found without a schedule: what a schedule makes of them, and what it hides."""

from __future__ import annotations

import dataclasses

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lyapopt.dynamics import Training
from lyapopt.dynamics.hyperparameters import HyperparameterTable
from lyapopt.dynamics.training import Scheduler
from lyapopt.search.steering.optimizer_rates import at_rate, peaks

_TINY = 0.5  # of the largest rate: a schedule that begins below it warms up
_SEEN = 1000  # steps of a schedule that are looked at


def without_schedule(training: Training) -> Training:
    """The same training at the largest rate of its schedule from its first step on."""
    peak = peaks(training.optimizer)[0]
    return dataclasses.replace(
        training, optimizer=at_rate(training.optimizer, peak), scheduler=None
    )


def warm_up(
    optimizer: torch.optim.Optimizer, scheduler: Scheduler | None, steps: int | None
) -> str | None:
    """What a schedule that begins with small rates hides, in a sentence; `None` if it does not.

    Args:
        optimizer: Whose schedule may also be known by the rates that it has set already.
        scheduler: The schedule, where it is known.
        steps: Steps of the training, where that is known.

    Example:
        >>> sgd = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
        >>> warm_up(sgd, None, 100) is None
        True
        >>> warm_up(sgd, lambda step: min(1.0, (step + 1) / 50), 100)[:48]
        'the schedule warms up: its first 24 rates lie be'
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler = None
    if scheduler is None and optimizer.state:
        return None  # it has taken steps: a rate below its first one may be the end of a schedule
    table = HyperparameterTable(optimizer, scheduler, ("lr",))
    rates = table.window(0, min(steps or _SEEN, _SEEN), 0)["lr"][:, 0]
    peak = max(peaks(optimizer)[0], float(rates.max()))
    is_tiny = (rates < _TINY * peak).tolist()
    if not is_tiny[0]:
        return None
    count = is_tiny.index(False) if False in is_tiny else len(is_tiny)
    which = "its first rate lies" if count == 1 else f"its first {count} rates lie"
    which = "the optimizer's rate lies" if scheduler is None else which
    return (
        f"the schedule warms up: {which} below half of its largest. The rate was found without "
        "the schedule, as the largest that these weights bear from the first step on; after "
        "a warm-up they may bear a higher one, which a few steps cannot tell"
    )
