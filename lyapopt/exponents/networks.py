"""The exponents of one network, or of a list of them, in three lines."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from lyapopt.checks import Arguments
from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.checked import check_training, take_over_check
from lyapopt.dynamics.modules import plain_module
from lyapopt.dynamics.precision import copied, in_dtype
from lyapopt.dynamics.system import refuse_patches
from lyapopt.dynamics.training import Data, LossFunction, Scheduler
from lyapopt.errors import PrecisionError, UserError
from lyapopt.exponents.benettin import spectrum
from lyapopt.exponents.estimate import join
from lyapopt.exponents.neighbours import from_neighbours
from lyapopt.exponents.perturbations import seed_of_each
from lyapopt.exponents.results import Exponent, Spectrum

OptimizerLike = torch.optim.Optimizer | Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]
"""An optimiser, or what makes one from parameters: `partial(torch.optim.SGD, lr=0.1)`."""


def training_exponent(
    model: nn.Module | Iterable[nn.Module],
    loss_fn: LossFunction,
    optimizer: OptimizerLike | Sequence[OptimizerLike],
    data: Data,
    *,
    horizon: int = 20,
    batch_size: int | None = None,
    scheduler: Scheduler | None = None,
    clip_grad_norm: float | None = None,
    seed: int | Sequence[int] = 0,
    dtype: torch.dtype | None = torch.float64,
    **options: Any,
) -> Exponent:
    """Largest finite-time exponent of training a network, from neighbours (Eq. 4).

    Nothing is trained in place: the model is copied, with the state of its optimiser.

    Args:
        model: A network, or a list of networks that are measured at once. Those of one structure
            share a stack; the others are measured beside them.
        loss_fn: `loss_fn(model(*inputs), target) -> scalar`.
        optimizer: A `torch.optim` object over the model's parameters, or a function that makes one
            from them. For a list of networks a list of them, or one function.
        data: `(inputs, target)` tensors, a `Dataset` or a `DataLoader`, shared by all networks.
        horizon: Optimiser steps to measure over.
        batch_size: Examples per step; `None` is the full batch.
        scheduler: As in `Training` (a function of the step, for a list of networks).
        clip_grad_norm: Largest 2-norm of the gradient.
        seed: Order of batches, dropout masks and directions follow from it: one for all networks,
            or a list with one for each (which makes networks of one configuration replicas, for
            `interval(over="replicas")`).
        dtype: Precision to measure in. Networks are float32 as a rule, where separations small
            enough to be linear drown in rounding. In float64 constants that `forward` makes follow
            the weights. `None` leaves networks as they are.
        **options: Further arguments of `from_neighbours`: `neighbours`, `radius`, `burn_in`, ...

    Returns:
        Exponents in nats per step, `(1,)` or one a network in their order.

    Raises:
        UserError: If an argument is out of its range or does not fit another.

    Example:
        >>> import lyapopt
        >>> model, x = nn.Linear(3, 1), torch.eye(3)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> e = lyapopt.training_exponent(model, nn.MSELoss(), sgd, (x, x[:, :1]), horizon=10)
        >>> e.value.shape, e.value.item() < 0, e.gradient_evaluations
        (torch.Size([1]), True, 170)
    """
    _check_options("training_exponent", from_neighbours, options)
    trainings = _trainings(
        model, loss_fn, optimizer, data, batch_size, scheduler, clip_grad_norm, seed, dtype
    )
    results, order = [], []
    for positions, step in stack(trainings):
        z0 = step.initial_state()
        seeds = _directions(seed, trainings, positions)
        results.append(from_neighbours(step, z0, horizon, seed=seeds, **options))
        order += positions
    return join(results, order)


def training_spectrum(
    model: nn.Module | Iterable[nn.Module],
    loss_fn: LossFunction,
    optimizer: OptimizerLike | Sequence[OptimizerLike],
    data: Data,
    *,
    horizon: int = 20,
    k: int | None = None,
    batch_size: int | None = None,
    scheduler: Scheduler | None = None,
    clip_grad_norm: float | None = None,
    seed: int | Sequence[int] = 0,
    dtype: torch.dtype | None = torch.float64,
    **options: Any,
) -> Spectrum:
    """The `k` largest exponents of training a network, by tangents through the whole update.

    Args:
        model, loss_fn, optimizer, data: See `training_exponent`.
        horizon: Optimiser steps to measure over.
        k: How many exponents; `None` is all `D = P (1 + slots) + buffers` of them.
        batch_size, scheduler, clip_grad_norm, seed, dtype: See `training_exponent`.
        **options: Further arguments of `spectrum`: `burn_in`, `qr_every`, `perturb`, `chunk`.

    Returns:
        Exponents in nats per step, `(1, k)` or a row a network in their order.

    Raises:
        UserError: If an argument is out of its range or does not fit another.

    Example:
        >>> import lyapopt
        >>> model, x = nn.Linear(3, 1, bias=False), torch.eye(3)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.5)
        >>> s = lyapopt.training_spectrum(model, nn.MSELoss(), sgd, (x, x[:, :1]), horizon=8)
        >>> s.values.shape, round((s.sum / 3).exp().item(), 12)  # P ln(momentum)
        (torch.Size([1, 6]), 0.5)
    """
    _check_options("training_spectrum", spectrum, options)
    trainings = _trainings(
        model, loss_fn, optimizer, data, batch_size, scheduler, clip_grad_norm, seed, dtype
    )
    results: list[Spectrum] = []
    order: list[int] = []
    for positions, step in stack(trainings):
        seeds = _directions(seed, trainings, positions)
        result = spectrum(step, step.initial_state(), horizon, k=k, seed=seeds, **options)
        if results and result.values.shape[-1] != results[0].values.shape[-1]:
            raise UserError(
                "these networks have different numbers of dimensions, so that their full spectra "
                "do not make one table; ask for the largest few with k"
            )
        results.append(result)
        order += positions
    return join(results, order)


def _check_options(where: str, estimator: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuse arguments that the estimator has not, as Python does, in the name of the caller."""
    known = inspect.signature(estimator).parameters.values()
    allowed = {each.name for each in known if each.kind is each.KEYWORD_ONLY}
    for name in options.keys() - allowed:
        raise TypeError(f"{where}() got an unexpected keyword argument {name!r}")


def _trainings(
    model: nn.Module | Iterable[nn.Module],
    loss_fn: LossFunction,
    optimizer: OptimizerLike | Sequence[OptimizerLike],
    data: Data,
    batch_size: int | None,
    scheduler: Scheduler | None,
    clip_grad_norm: float | None,
    seed: int | Sequence[int],
    dtype: torch.dtype | None,
) -> list[Training]:
    if dtype not in (None, torch.float32, torch.float64):
        Arguments("").refuse("dtype", dtype, "torch.float32, torch.float64 or None")
    models = _models(model)
    of_each = list(seed_of_each(seed, len(models)))
    seeds = of_each * len(models) if len(of_each) == 1 else of_each
    trainings = [
        Training(
            each,
            loss_fn,
            made,
            data,
            batch_size=batch_size,
            scheduler=scheduler,
            clip_grad_norm=clip_grad_norm,
            seed=own,
        )
        for each, made, own in zip(models, _optimizers(models, optimizer), seeds, strict=True)
    ]
    for training in trainings:  # before a copy hides what else is read
        check_training(training)
    return trainings if dtype is None else [_copied(training, dtype) for training in trainings]


def _copied(training: Training, dtype: torch.dtype) -> Training:
    refuse_patches(training.optimizer)
    try:
        cast = in_dtype(copied(training), dtype)
    except PrecisionError as error:
        raise PrecisionError(
            f"neighbours need float64, in which this network does not run ({error}); a "
            "lyapopt.Probe measures it by tangents"
        ) from error
    take_over_check(cast, training)
    return cast


def _models(model: nn.Module | Iterable[nn.Module]) -> list[nn.Module]:
    if isinstance(model, nn.Module) and not isinstance(model, nn.ModuleList):
        return [plain_module(model)]
    models = list(model) if isinstance(model, Iterable) else [model]
    if not models:
        raise UserError("there are no models to measure")
    for each in models:
        if not isinstance(each, nn.Module):
            raise UserError(f"model must be an nn.Module or a list of them, not {each!r}")
    return [plain_module(each) for each in models]


def _directions(
    seed: int | Sequence[int], trainings: Sequence[Training], positions: Sequence[int]
) -> int | Sequence[int]:
    """Seeds of the systems of one stack: one number stays common to all."""
    return [trainings[i].seed for i in positions] if isinstance(seed, Iterable) else seed


def _optimizers(
    models: Sequence[nn.Module], optimizer: OptimizerLike | Sequence[OptimizerLike]
) -> list[torch.optim.Optimizer]:
    if isinstance(optimizer, Sequence) and not isinstance(optimizer, str):
        if len(optimizer) != len(models):
            raise UserError(f"{len(optimizer)} optimizers were given for {len(models)} models")
        makers = list(optimizer)
    elif isinstance(optimizer, torch.optim.Optimizer) and len(models) > 1:
        raise UserError(
            f"one optimizer was given for {len(models)} models; give a list of them, or a function "
            "such as functools.partial(torch.optim.SGD, lr=0.1)"
        )
    else:
        makers = [optimizer] * len(models)
    made = [_optimizer(maker, each) for maker, each in zip(makers, models, strict=True)]
    for one, each in zip(made, models, strict=True):
        own = {id(parameter) for parameter in each.parameters()}
        if not all(id(p) in own for group in one.param_groups for p in group["params"]):
            raise UserError("an optimizer steps parameters that are not its model's")
    return made


def _optimizer(maker: OptimizerLike, model: nn.Module) -> torch.optim.Optimizer:
    if isinstance(maker, torch.optim.Optimizer):
        return maker
    if not callable(maker):
        raise UserError(
            "optimizer must be a torch.optim object or a function of the parameters, "
            f"not {type(maker).__name__}"
        )
    made: object = maker(model.parameters())
    if not isinstance(made, torch.optim.Optimizer):
        raise UserError(f"the optimizer function returned {type(made).__name__}")
    return made
