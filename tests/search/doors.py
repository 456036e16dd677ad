"""Every door that takes a user's own objects, and all that it must leave as it was."""

import random
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import optuna
import pandas  # noqa: F401 (imports of others add filters of warnings, the first time)
import scipy.stats  # noqa: F401
import sympy  # noqa: F401
import torch
from optuna.distributions import CategoricalDistribution
from torch import nn

import lyapopt
from lyapopt.probe import Probe

Parts = tuple[nn.Module, Any, torch.optim.Optimizer, tuple[torch.Tensor, ...]]


def bits(value: Any) -> Any:
    """Something to compare by `==` that is different if one bit is."""
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.detach().cpu().numpy().tobytes()
    if isinstance(value, np.ndarray):
        return value.tobytes()
    if isinstance(value, dict):
        return {name: bits(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [bits(part) for part in value]
    return value


def everything(model: nn.Module, loss_fn: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """All that a training depends on or leaves behind, of the objects and of the process."""
    modules = [model, *([loss_fn] if isinstance(loss_fn, nn.Module) else [])]
    return {
        "parameters": [
            (bits(p), p._version, p.requires_grad, bits(p.grad))
            for module in modules
            for p in module.parameters()
        ],
        "buffers": [(bits(b), b._version) for module in modules for b in module.buffers()],
        "attributes": [
            {n: bits(v) for n, v in vars(part).items() if isinstance(v, torch.Tensor | int | str)}
            for part in model.modules()
        ],
        "modes": [part.training for part in model.modules()],
        "classes": [type(part) for part in model.modules()],
        "hooks": [
            [list(hooks) for name, hooks in sorted(vars(part).items()) if name.endswith("_hooks")]
            for part in (*model.modules(), optimizer)
        ],
        "optimizer": bits(optimizer.state_dict()),
        "python": random.getstate(),
        "numpy": bits(np.random.get_state()),
        "torch": bits(torch.get_rng_state()),
        "filters": list(warnings.filters),
        "process": (
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_num_threads(),
            torch.backends.mkldnn.enabled,
            torch.backends.cuda.math_sdp_enabled(),
            torch.backends.cuda.flash_sdp_enabled(),
        ),
    }


def by_exponent(model, loss_fn, optimizer, data):
    lyapopt.training_exponent(model, loss_fn, optimizer, data, horizon=3, neighbours=2)


def by_spectrum(model, loss_fn, optimizer, data):
    lyapopt.training_spectrum(model, loss_fn, optimizer, data, horizon=2, k=1)


def by_probe(model, loss_fn, optimizer, data):
    Probe(horizon=3).measure([lyapopt.Training(model, loss_fn, optimizer, data, batch_size=24)])


def by_objective(model, loss_fn, optimizer, data):
    training = lyapopt.Training(model, loss_fn, optimizer, data, batch_size=24, steps=5)
    rate = {"lr": CategoricalDistribution([0.1])}
    objective = lyapopt.Objective(lambda params: training, rate, probe=Probe(3))
    study = optuna.create_study()
    study.optimize(objective, n_trials=1)


def by_steer(model, loss_fn, optimizer, data):
    def build(params):
        # Rates differ so that `steer` finds what it steers; the objects are the user's own.
        optimizer.param_groups[0]["lr"] = params["lr"]
        return lyapopt.Training(model, loss_fn, optimizer, data, batch_size=24)

    before = optimizer.param_groups[0]["lr"]
    try:
        lyapopt.steer(build, low=1e-3, high=1e-2)
    finally:
        optimizer.param_groups[0]["lr"] = before


def by_find_lr(model, loss_fn, optimizer, data):
    lyapopt.find_lr(model, optimizer, loss_fn, data, batch_size=24, low=1e-3, high=1e-2)


def by_watch(model, loss_fn, optimizer, data):
    with lyapopt.watch(None, model, optimizer, loss_fn, horizon=3) as monitor:
        for t in range(3):
            *inputs, target = (tensor[24 * t : 24 * (t + 1)] for tensor in data)
            monitor.observe(tuple(inputs), target)


DOORS: list[Callable[..., None]] = [
    *(by_exponent, by_spectrum, by_probe, by_objective, by_steer, by_find_lr, by_watch)
]
