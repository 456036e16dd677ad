"""Optimisers and learning-rate schedules from options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler


def make_optimizer(model: nn.Module, options: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The `torch.optim` object that `options["optimizer"]` names, over all parameters."""
    parameters = list(model.parameters())
    lr, decay = float(options["lr"]), float(options["weight_decay"])
    match options["optimizer"]:
        case "sgd":
            return torch.optim.SGD(
                parameters,
                lr=lr,
                momentum=options["momentum"],
                dampening=options["dampening"],
                nesterov=options["nesterov"],
                weight_decay=decay,
            )
        case "rmsprop":
            return torch.optim.RMSprop(
                parameters,
                lr=lr,
                alpha=options["alpha"],
                eps=options["eps"],
                momentum=options["momentum"],
                centered=options["centered"],
                weight_decay=decay,
            )
        case name:
            adams: dict[str, type[torch.optim.Adam]] = {
                "adam": torch.optim.Adam,
                "adamw": torch.optim.AdamW,
            }
            return adams[name](
                parameters,
                lr=lr,
                betas=tuple(options["betas"] or (options["beta1"], options["beta2"])),
                eps=options["eps"],
                amsgrad=options["amsgrad"],
                weight_decay=decay,
            )


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
