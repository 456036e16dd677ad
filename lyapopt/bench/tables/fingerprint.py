"""What a table follows from, beside its grid: data, schedules, and what the code makes of them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import torch

from lyapopt.bench.tables.cases import Case, build_cell, twin
from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.data import Examples, read_examples
from lyapopt.dynamics.hyperparameters import HyperparameterTable
from lyapopt.exponents import from_neighbours

RADIUS = 1e-6
"""Separation of neighbours."""
_STEPS = 3
_CELLS = 3


def fingerprint(case: Case) -> str:
    """A digest of a few configurations, and of the file that a user's build function is in."""
    chosen = case.cells[:: max(1, len(case.cells) // _CELLS)]
    digest = blake2b(_source(case), digest_size=8)
    for params in chosen:
        digest.update(fingerprint_of(case, params).encode())
    return digest.hexdigest()


def fingerprint_of(case: Case, params: Mapping[str, Any]) -> str:
    """A digest of one configuration: its data, its hyperparameters at every step, and losses and
    growth over the first steps. It changes where the code computes something else.

    Raises:
        UserError: If the configuration cannot be built or trained.
    """
    training = build_cell(case, params)
    [(_, step)] = stack([training], compile="off")
    digest = blake2b(digest_size=8)
    about = (training.steps, step.steps_per_epoch, step.batch_size, training.clip_grad_norm)
    digest.update(repr(about).encode())
    digest.update(repr(list(_hyperparameters(training))).encode())
    for data in (training.data, training.validation):
        if data is not None:
            _add_numbers(digest, read_examples(data))
    [(_, measured)] = stack([twin(training)], compile="off")
    found = from_neighbours(measured, measured.initial_state(), _STEPS, neighbours=1, radius=RADIUS)
    assert found.losses is not None
    losses = [*found.losses.flatten().tolist(), *step.evaluate(step.initial_state()).losses]
    for number in [*losses, *found.value.tolist()]:
        digest.update(f"{number:.6g};".encode())
    return digest.hexdigest()


def _hyperparameters(training: Training) -> Iterator[tuple[str, list[float]]]:
    """Every number of the parameter groups, step after step."""
    numbers: set[str] = set()
    for group in training.optimizer.param_groups:
        numbers |= {name for name, value in group.items() if type(value) in (int, float)}
    steps = training.steps or _STEPS
    table = HyperparameterTable(training.optimizer, training.scheduler, tuple(sorted(numbers)))
    for name, values in table.window(0, steps, steps - 1).items():
        yield name, torch.unique_consecutive(values.flatten()).tolist()
    for group in training.optimizer.param_groups:
        yield "betas", list(group.get("betas", ()))


def _add_numbers(digest: Any, examples: Examples) -> None:
    for tensor in examples.tensors:
        numbers = tensor.detach().cpu().contiguous().numpy()
        digest.update(f"{numbers.dtype.str} {numbers.shape}".encode())
        digest.update(numbers.tobytes())


def _source(case: Case) -> bytes:
    """The text of the file of a user's build function; nothing where there is none."""
    if case.build is None:
        return b""
    function = inspect.unwrap(case.build)
    try:
        file = inspect.getsourcefile(function)
    except TypeError:  # an object that is callable
        file = inspect.getsourcefile(type(function))
    return Path(file).read_bytes() if file and Path(file).is_file() else b""
