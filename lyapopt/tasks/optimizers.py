"""Optimisers and learning-rate schedules from options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

_ADAM = ("eps", "amsgrad")
_OPTIMIZERS: Mapping[str, tuple[type[torch.optim.Optimizer], tuple[str, ...]]] = {
    "sgd": (torch.optim.SGD, ("momentum", "dampening", "nesterov")),
    "rmsprop": (torch.optim.RMSprop, ("alpha", "eps", "momentum", "centered")),
    "adam": (torch.optim.Adam, _ADAM),
    "adamw": (torch.optim.AdamW, _ADAM),
}
"""What makes each optimizer, and the options that it takes by their own names."""


def make_optimizer(model: nn.Module, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The `torch.optim` object that `options["optimizer"]` names, over all parameters."""
    make, names = _OPTIMIZERS[options["optimizer"]]
    own = {name: options[name] for name in ("lr", "weight_decay", *names)}
    if own.get("nesterov") and not own["momentum"]:  # torch refuses it, and it is plain descent
        own["nesterov"] = False
    if names is _ADAM:
        own["betas"] = tuple(options["betas"] or (options["beta1"], options["beta2"]))
    return _made(make, list(model.parameters()), own)


def _made(
    make: type[torch.optim.Optimizer], parameters: list[nn.Parameter], own: Mapping[str, Any]
) -> torch.optim.Optimizer:
    """`make(parameters, **own)`, without importing torch's compiler, which takes a second.

    `add_param_group`, which the constructor calls, is wrapped so that the compiler leaves it alone,
    and the wrapper imports the compiler to say so. The constructor is given what is wrapped.
    """
    optimizer = make.__new__(make)
    plain = inspect.unwrap(make.add_param_group)
    vars(optimizer)["add_param_group"] = functools.partial(plain, optimizer)
    make.__init__(optimizer, parameters, **own)
    del vars(optimizer)["add_param_group"]
    return optimizer


def make_scheduler(
    optimizer: torch.optim.Optimizer, options: Mapping[str, Any]
) -> lr_scheduler.LRScheduler | None:
    """The schedule that `options["schedule"]` names, over `options["steps"]` steps.

    `step` divides the rate by ten after each third; warm-up rises linearly from a hundredth over
    `warmup_steps`, a tenth of the training where that is 0.
    """
    steps = options["steps"]
    warmup = options["warmup_steps"] or max(1, steps // 10)
    match options["schedule"]:
        case "constant":
            return None
        case "cosine":
            return lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
        case "step":
            return lr_scheduler.StepLR(optimizer, step_size=max(1, steps // 3), gamma=0.1)
        case "warmup":
            return lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup)
        case "warmup-cosine":
            parts: list[lr_scheduler.LRScheduler] = [
                lr_scheduler.LinearLR(optimizer, start_factor=0.01, total_iters=warmup),
                lr_scheduler.CosineAnnealingLR(optimizer, T_max=max(1, steps - warmup)),
            ]
            return lr_scheduler.SequentialLR(optimizer, parts, milestones=[warmup])
        case other:
            raise ValueError(f"no schedule {other!r}")
