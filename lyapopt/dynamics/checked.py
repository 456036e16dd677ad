"""A training is checked once, by whichever entry point comes first."""

from __future__ import annotations

import copy
import weakref
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.data import BatchOrder, Examples, read_examples, read_order
from lyapopt.dynamics.layers import SeededLayers
from lyapopt.dynamics.replaying import Finding, check_hooks, check_passes, check_steps
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.trace import writes_weights
from lyapopt.dynamics.training import Training
from lyapopt.errors import UserError

_NOTHING = Finding(has_drawn=False, has_changed=False)
_known: weakref.WeakKeyDictionary[nn.Module, tuple[weakref.ref[Any], Finding]]
_known = weakref.WeakKeyDictionary()


def check_training(
    training: Training, examples: Examples | None = None, order: BatchOrder | None = None
) -> Finding:
    """Refuse what cannot be repeated with other weights; the training is left as it is.

    Modules and losses of torch's own need no passes.

    Args:
        training: Any.
        examples: Its data, where they are read already.
        order: The order of its batches, likewise.

    Raises:
        TrainingError: If it reads, keeps or changes what copies of it could not.
    """
    check_steps(training.model, training.optimizer)
    check_hooks(training.model, training.optimizer)
    if is_of_torch(training):
        return _NOTHING
    loss, finding = _known.get(training.model, (None, _NOTHING))
    if loss is not None and loss() is training.loss_fn:
        return finding
    examples = examples or read_examples(training.data)
    order = order or read_order(training.data, examples, training.batch_size, training.seed)
    finding = _passes(training, [tensor[: order.size] for tensor in examples.tensors])
    _remember(training, finding)
    return finding


def take_over_check(copied: Training, training: Training) -> None:
    """Let a copy of a training that has been checked need no check of its own."""
    if not is_of_torch(training) and training.model in _known:
        _remember(copied, _known[training.model][1])


def surroundings_of(training: Training, model: nn.Module) -> Surroundings:
    """What a pass of a copy of the training's model reaches."""
    return Surroundings(model, training.loss_fn)


def _remember(training: Training, finding: Finding) -> None:
    try:
        _known[training.model] = weakref.ref(training.loss_fn), finding
    except TypeError:  # what has no weak references is checked again
        _known.pop(training.model, None)


def _passes(training: Training, batch: list[Tensor]) -> Finding:
    like = next((p.dtype for p in training.model.parameters()), torch.float64)
    cast = [part.to(like) if part.is_floating_point() else part for part in batch]
    for tensors in (batch, cast):  # data of another precision are cast by some entry points
        try:
            return _passes_on(training, tensors)
        except UserError:
            raise
        except Exception:  # whatever a module raises of data that it cannot take
            continue
    # What cannot be copied, or does not run, is refused with its error where it is trained.
    return _NOTHING


def _passes_on(training: Training, batch: list[Tensor]) -> Finding:
    copied = copy.deepcopy(training.model)
    key = torch.tensor(training.seed & (2**63 - 1))
    has_written = False

    def loss_of(model: nn.Module) -> Tensor:
        nonlocal has_written
        *inputs, target = own = [part.clone() for part in batch]
        with SeededLayers(key, 0):
            outputs = model(*inputs)
        with RefusedBroadcasting():
            loss = training.loss_fn(outputs, target)
        has_written |= any(part._version or part.requires_grad for part in own)
        return loss

    found = check_passes(copied, training.model, loss_of, surroundings_of(training, copied))
    return replace(found, has_changed=found.has_changed or has_written)


def is_of_torch(training: Training) -> bool:
    """Whether model and loss are made of torch's own modules and functions, which write nothing."""
    loss = training.loss_fn
    owner = loss if not isinstance(loss, nn.Module) else type(loss)
    name = getattr(owner, "__module__", None) or ""
    return name.startswith("torch.nn.") and all(
        type(part).__module__.startswith("torch.nn.modules.")
        and "forward" not in vars(part)
        and not (part._forward_hooks or part._forward_pre_hooks)
        and not (part._backward_hooks or part._backward_pre_hooks)
        and not (getattr(part, "inplace", False) or writes_weights(part))
        for part in training.model.modules()
    )
