"""A training in another precision, or on another device: as it is, or as a copy beside it.

Neighbours are separated by 1e-6, which float32 does not resolve, and people write float32. So a
network is measured in float64, by a twin that begins with the same weights and sees the same
batches and masks; what it is trained in is its owner's business.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import functools
import weakref
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.checked import check_training, surroundings_of, take_over_check
from lyapopt.dynamics.data import read_examples, read_order
from lyapopt.dynamics.one_precision import InFloat64, LossInFloat64, run_in_float64
from lyapopt.dynamics.system import refuse_patches
from lyapopt.dynamics.trace import is_pure
from lyapopt.dynamics.training import Data, LossFunction, Training
from lyapopt.errors import PrecisionError, UserError

_twins: weakref.WeakSet[nn.Module] = weakref.WeakSet()
"""Models in float64 with code that was written for another precision."""
_cast_data: dict[tuple[object, ...], tuple[list[weakref.ref[object]], Data]] = {}
"""Data that are cast, for as long as their owner keeps the original."""


def precision_of(training: Training) -> torch.dtype:
    """The dtype of the trained weights; of several, the narrowest.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> precision_of(Training(model, nn.MSELoss(), sgd, (torch.eye(2), torch.ones(2, 1))))
        torch.float32
    """
    stepped = (p for group in training.optimizer.param_groups for p in group["params"])
    found = {p.dtype for p in stepped if p.is_floating_point()}
    return min(found, key=lambda dtype: dtype.itemsize, default=torch.float64)


def not_measurable(refusal: PrecisionError, dtype: torch.dtype, reason: str) -> PrecisionError:
    """The error for a network that can be measured neither in float64 nor by tangents."""
    name = str(dtype).removeprefix("torch.")
    return PrecisionError(
        f"this network can be measured neither in float64 ({refusal}) nor in {name} by tangents "
        f"({reason}); let it run in float64 as well: make its constants with x.new_zeros(...) or "
        "torch.zeros(..., dtype=x.dtype)"
    )


def float64_twin(training: Training) -> Training:
    """A copy in float64: model, optimiser, schedule, loss, data, and what `forward` makes.

    Nothing is evaluated on it: it has neither validation data nor metric.

    Raises:
        PrecisionError: If it cannot be copied, or a part of it does not run in float64.
        NotStackableError: If something changes its gradients or steps behind the optimiser's back,
            which a copy would not have.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> training = Training(model, nn.MSELoss(), sgd, (torch.eye(2), torch.ones(2, 1)))
        >>> float64_twin(training).model.weight.dtype, training.model.weight.dtype
        (torch.float64, torch.float32)
    """
    check_training(training)
    refuse_patches(training.optimizer)
    try:
        twin = dataclasses.replace(copied(training), validation=None, metric=None)
    except Exception as error:
        raise PrecisionError(
            f"the model or its optimizer cannot be copied ({type(error).__name__}: {error})"
        ) from error
    twin = in_dtype(twin, torch.float64)
    take_over_check(twin, training)
    return twin


def copied(training: Training) -> Training:
    """The same training with a model, an optimiser and a schedule of its own; data are shared."""
    memo: dict[int, Any] = {}
    model = copy.deepcopy(training.model, memo)
    # Not a copy of the object: that would leave out the attributes of a class of the user's.
    optimizer = type(training.optimizer).__new__(type(training.optimizer))
    memo[id(training.optimizer)] = optimizer
    own = {name: value for name, value in vars(training.optimizer).items() if name != "step"}
    vars(optimizer).update(copy.deepcopy(own, memo))
    scheduler = copy.deepcopy(training.scheduler, memo)
    return dataclasses.replace(training, model=model, optimizer=optimizer, scheduler=scheduler)


def in_dtype(training: Training, dtype: torch.dtype | None, device: str | None = None) -> Training:
    """The same training with floating-point weights, state, loss and data in `dtype`.

    The model is changed in place, so that its optimiser still belongs to it; the loss is copied,
    which others may share. Data that several trainings share stay shared.

    Args:
        training: Any.
        dtype: In float64, constants that `forward` and the loss make for themselves follow; `None`
            leaves the precision as it is.
        device: Where all of it lies afterwards; `None` leaves it where it is.

    Raises:
        PrecisionError: If a part of it does not run in float64.
    """
    is_wider = dtype == torch.float64 != precision_of(training)
    loss_fn = training.loss_fn
    if isinstance(loss_fn, nn.Module):
        loss_fn = copy.deepcopy(loss_fn).to(device=device, dtype=dtype)
    try:
        training.model.to(device=device, dtype=dtype)
        for state in training.optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and name != "step":
                    state[name] = _cast(value, dtype, device)
    except (TypeError, RuntimeError) as error:  # a device without float64
        raise PrecisionError(f"{type(error).__name__}: {error}") from error
    validation = training.validation
    cast = dataclasses.replace(
        training,
        loss_fn=loss_fn,
        data=_cast_shared(training.data, dtype, device, True),
        validation=None if validation is None else _cast_shared(validation, dtype, device, False),
    )
    return _with_constants(cast) if is_wider else cast


def _with_constants(training: Training) -> Training:
    """Let constants follow the weights, where a first pass shows that there are any."""
    if is_pure(training.model) and _is_of_torch(training.loss_fn):
        return training
    _twins.add(training.model)
    in_model, in_loss = InFloat64(), InFloat64()
    examples = read_examples(training.data)
    size = read_order(training.data, examples, training.batch_size, training.seed).size
    *inputs, target = [tensor[:size].clone() for tensor in examples.tensors]
    try:
        # What the pass writes is that of a copy; random numbers are as before.
        model = copy.deepcopy(training.model)
        with torch.enable_grad(), surroundings_of(training, model).kept(0):
            with in_model:
                outputs = model(*inputs)
            with in_loss, RefusedBroadcasting():
                loss = training.loss_fn(outputs, target)
            if in_model.was_needed and loss.requires_grad:  # some is computed again in this pass
                weights = [p for p in model.parameters() if p.requires_grad]
                torch.autograd.grad(loss.sum(), weights, allow_unused=True)
    except UserError:
        raise
    except Exception as error:
        raise PrecisionError(
            f"its first batch raised {type(error).__name__}: {error} in float64"
        ) from error
    if in_model.has_rounded or in_loss.has_rounded:
        raise PrecisionError("a part of it computes in a lower precision than float64 always")
    if in_model.was_needed:
        run_in_float64(training.model)
    if not in_loss.was_needed:
        return training
    return dataclasses.replace(training, loss_fn=LossInFloat64(training.loss_fn))


def for_any_pass(training: Training, model: nn.Module) -> Training:
    """A training whose constants follow in every pass, not only in those that the first has shown.

    Args:
        training: Any; one in a stack computes the same in every pass, and needs it not.
        model: A copy of its model, which is changed.
    """
    if training.model not in _twins:
        return training
    run_in_float64(model)
    if isinstance(training.loss_fn, LossInFloat64) or _is_of_torch(training.loss_fn):
        return training
    return dataclasses.replace(training, loss_fn=LossInFloat64(training.loss_fn))


def _is_of_torch(loss_fn: LossFunction) -> bool:
    """Whether a loss makes nothing for itself: one of torch's modules or functions."""
    owner = loss_fn if not isinstance(loss_fn, nn.Module) else type(loss_fn)
    name = getattr(owner, "__module__", None) or ""
    return name.startswith("torch.nn") and not hasattr(owner, "__wrapped__")


def _cast_shared(data: Data, dtype: torch.dtype | None, device: str | None, in_order: bool) -> Data:
    """Cast data once for all trainings that are given the very same object or tensors.

    Args:
        data: Any.
        dtype, device: See `in_dtype`.
        in_order: Whether the order and the batches of a loader are kept too.
    """
    parts: tuple[object, ...] = tuple(data) if isinstance(data, tuple | list) else (data,)
    key = (*map(id, parts), dtype, device, in_order)
    known = _cast_data.get(key)
    if known is not None and all(ref() is part for ref, part in zip(known[0], parts, strict=True)):
        return known[1]
    examples = read_examples(data)
    tensors = tuple(_cast(tensor, dtype, device) for tensor in examples.tensors)
    cast: Data = tensors
    if isinstance(data, DataLoader) and in_order:
        order = read_order(data, examples, None, 0)  # refuses what is no plain order or shuffle
        size, shuffle, drop_last = data.batch_size, order.shuffle, data.drop_last
        cast = DataLoader(TensorDataset(*tensors), size, shuffle, drop_last=drop_last)
    with contextlib.suppress(TypeError):  # a class with slots
        forget = functools.partial(_forget, _cast_data, key)
        _cast_data[key] = [weakref.ref(part, forget) for part in parts], cast
    return cast


def _forget(table: dict[Any, Any], key: object, dead: object) -> None:
    """Called when a part of the original is gone, also while Python shuts down."""
    table.pop(key, None)


def _cast(tensor: Tensor, dtype: torch.dtype | None, device: str | None) -> Tensor:
    if dtype is not None and tensor.is_complex():  # as inputs it may be
        dtype = dtype.to_complex()
    elif not tensor.is_floating_point():
        dtype = None
    return tensor.to(device=device, dtype=dtype)
