"""Building a training from parameters, reproducibly."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from lyapopt.dynamics import Training
from lyapopt.dynamics.own_draws import turns
from lyapopt.dynamics.randomness import derive_seed, may_have_accelerators, seed_torch
from lyapopt.space import same

Params = Mapping[str, Any]
"""Parameters of a trial by name; their values are whatever the user's build function takes."""

Build = Callable[[Params], Training]
"""A user's function that makes the training of a trial."""


def same_params(params: Params, others: Params) -> bool:
    """Whether two sets of parameters have the same names and values, `true` not being 1.

    >>> same_params({"lr": 1, "bias": True}, {"bias": True, "lr": 1.0})
    True
    >>> same_params({"lr": 1}, {"lr": 1, "momentum": 0.0})
    False
    """
    return params.keys() == others.keys() and all(
        _same_value(value, others[name]) for name, value in params.items()
    )


def _same_value(value: object, other: object) -> bool:
    """Whether two values are the same; arrays, whose `==` is no truth, are if they are one."""
    if isinstance(value, int | float | str) and isinstance(other, int | float | str):
        return same(value, other)
    return value is other or repr(value) == repr(other)


def build_training(build: Build, params: Params, seed: int, number: int) -> Training:
    """What `build(params)` returns, with global generators seeded from study seed and number.

    A build function that draws its initial weights without a seed of its own is reproducible so,
    and every learning rate that is probed for a trial starts from the trial's own weights.

    Raises:
        TypeError: If it is not a `Training`; and whatever `build` raises.
    """
    with seeded(derive_seed(seed, number, "build")):
        training = build(params)
    if not isinstance(training, Training):
        raise TypeError(f"build must return a lyapopt.Training, not {type(training)}")
    return training


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Global generators (torch, CUDA, numpy, random) seeded inside, and as before afterwards.

    Threads take turns.
    """
    with turns:
        numpy_state, python_state = np.random.get_state(), random.getstate()
        is_initialized = bool(torch.cuda.is_initialized())  # type: ignore[no-untyped-call]
        devices = list(range(torch.cuda.device_count())) if is_initialized else []
        try:
            with torch.random.fork_rng(devices=devices):
                seed_torch(seed)
                np.random.seed(seed % 2**32)
                random.seed(seed)
                yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)
            # CUDA begins with the seed that it was given last.
            if may_have_accelerators() and not is_initialized:
                torch.cuda.manual_seed_all(torch.initial_seed())
