"""What one forward and backward pass on a first batch tells of a model."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.data import BatchOrder, Examples
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.replaying import graph_of, plain_attributes
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.training import Training
from lyapopt.errors import NotStackableError, TrainingError, UserError


@dataclass(frozen=True)
class Trace:
    """One pass of a model by itself, as any PyTorch loop would make it.

    Attributes:
        weight_names: Parameters of the optimiser that the loss has gradients for; torch leaves
            all others alone (no weight decay either).
        buffer_names: Buffers that the forward pass writes to.
        counter_names: Integer buffers that it counts up by one.
        needs_layers: Whether it calls layers that only `DeterministicLayers` makes pure.
        index: The examples of the batch.
        loss: The loss on it.
        gradient: Its gradient in the weights.
        buffers: The buffers afterwards.
        has_own_gradients: Whether a backward pass is written in Python (`autograd.Function`).
    """

    weight_names: tuple[str, ...]
    buffer_names: tuple[str, ...]
    counter_names: tuple[str, ...]
    needs_layers: bool
    index: Int[Tensor, " batch"]
    loss: Float[Tensor, ""]
    gradient: Float[Tensor, " weights"]
    buffers: Float[Tensor, " buffers"]
    has_own_gradients: bool


@torch.enable_grad()
def trace_first_batch(training: Training, examples: Examples, order: BatchOrder) -> Trace:
    """Run the model once, so that nothing of the user's changes: on a copy, if it might.

    Raises:
        TrainingError: If it cannot be trained as given.
        NotStackableError: If it does what no pure function of its tensors can do.
    """
    _refuse_parallel(training.model)
    missing = examples.first_with_nan()
    index = (torch.arange(order.size) + (missing or 0)) % examples.count
    index = index.to(examples.tensors[0].device)
    batch = [tensor[index] for tensor in examples.tensors]
    model = training.model
    if not is_pure(model):
        model = copy_sharing_parameters(model)
    before = {name: (b, b.clone(), b._version) for name, b in model.named_buffers()}
    plain = plain_attributes(model)
    layers = DeterministicLayers(torch.tensor(training.seed & (2**63 - 1)), 0)
    loss = _loss(training, model, batch, layers)
    after = plain_attributes(model)
    for name, attribute in plain:
        if after.get((name, attribute)) != plain[name, attribute]:
            raise NotStackableError(
                f"the forward pass changes its attribute {f'{name}.{attribute}'.lstrip('.')}; keep "
                "what changes in a buffer, or outside of the model"
            )
    if missing is not None and not loss.isfinite():
        raise TrainingError(
            f"Training: the data hold NaN, first in example {missing}; drop or fill such examples"
        )
    has_own_gradients = _has_python_node(loss)
    weights, gradients = _gradients(training, loss)
    counters, moving = _changes(model, before, weights)
    buffers = dict(model.named_buffers())
    like = next(iter(weights.values()))
    return Trace(
        weight_names=tuple(weights),
        buffer_names=moving,
        counter_names=counters,
        needs_layers=layers.was_needed,
        index=index,
        loss=loss.detach(),
        gradient=torch.cat([g.reshape(-1) for g in gradients]),
        buffers=torch.cat([like.detach().new_empty(0), *(buffers[n].view(-1) for n in moving)]),
        has_own_gradients=has_own_gradients,
    )


def _refuse_parallel(model: nn.Module) -> None:
    for part in model.modules():
        if isinstance(part, nn.DataParallel | nn.parallel.DistributedDataParallel):
            raise NotStackableError(
                f"{type(part).__name__} cannot run in a stack; give the module as it was before "
                "(the stack is parallel by itself)"
            )


def is_pure(model: nn.Module) -> bool:
    """Whether a forward pass changes nothing: torch's own modules, without buffers and hooks.

    Most models are that, and a copy takes longer than all the rest of the reading.
    """
    return next(model.buffers(), None) is None and all(
        type(part).__module__.startswith("torch.nn.modules.")
        and "forward" not in vars(part)
        and not writes_weights(part)
        and not part._forward_hooks
        and not part._forward_pre_hooks
        for part in model.modules()
    )


def writes_weights(part: nn.Module) -> bool:
    """Whether a module of torch's changes its weights in a forward pass."""
    return isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.max_norm is not None


def copy_sharing_parameters(model: nn.Module) -> nn.Module:
    """A copy of a module tree with buffers and attributes of its own."""
    shared: dict[int, Any] = {id(parameter): parameter for parameter in model.parameters()}
    try:
        return copy.deepcopy(model, shared)
    except Exception as error:
        raise NotStackableError(
            f"the model cannot be copied ({type(error).__name__}: {error}); keep in its attributes "
            "only what copy.deepcopy can copy"
        ) from error


def _loss(
    training: Training, model: nn.Module, batch: list[Tensor], layers: DeterministicLayers
) -> Tensor:
    try:
        with Surroundings().kept():
            with layers:
                outputs = model(*batch[:-1])
            with RefusedBroadcasting():
                loss = training.loss_fn(outputs, batch[-1])
    except UserError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{tuple(t.shape)} {t.dtype}".replace("torch.", "") for t in batch)
        raise TrainingError(
            f"Training: the first batch raised {type(error).__name__}: {error} "
            f"(inputs and target of the batch are {shapes})"
        ) from error
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.is_floating_point():
        what = f"a tensor {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TrainingError(
            f"Training: loss_fn must return one real number, not {what}; take the mean over the "
            "batch (reduction='mean')"
        )
    if not loss.requires_grad:
        raise TrainingError("Training: the loss does not depend on any trainable parameter")
    return loss.reshape(())


def _gradients(training: Training, loss: Tensor) -> tuple[dict[str, Tensor], list[Tensor]]:
    """The parameters of the optimiser that the loss depends on, and their gradients."""
    stepped = {p for group in training.optimizer.param_groups for p in group["params"]}
    candidates = {
        name: parameter
        for name, parameter in training.model.named_parameters()
        if parameter.requires_grad and parameter in stepped
    }
    if not candidates:
        raise TrainingError(
            "Training: the optimizer holds no trainable parameter of this model; make it from "
            "model.parameters() of the same model"
        )
    try:
        gradients = torch.autograd.grad(loss, list(candidates.values()), allow_unused=True)
    except RuntimeError as error:
        raise TrainingError(
            f"Training: the backward pass of the first batch raised {error}"
        ) from error
    found = {n: g for n, g in zip(candidates, gradients, strict=True) if g is not None}
    if not found:
        raise TrainingError("Training: no parameter of the optimizer takes part in the loss")
    for name, gradient in found.items():
        if gradient.layout != torch.strided:
            raise TrainingError(
                f"Training: {name} has a sparse gradient; use nn.Embedding(..., sparse=False)"
            )
    return {name: candidates[name] for name in found}, list(found.values())


def _has_python_node(loss: Tensor) -> bool:
    """Whether the graph of a loss holds a function whose backward pass is written in Python."""
    return any(isinstance(n, torch.autograd.function.BackwardCFunction) for n in graph_of(loss))


def _changes(
    model: nn.Module, before: dict[str, tuple[Tensor, Tensor, int]], weights: dict[str, Tensor]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Counters and moving buffers: those that the forward pass has written to."""
    dtypes = {weight.dtype for weight in weights.values()}
    counters, moving = [], []
    for name, now in model.named_buffers():
        same, value, version = before[name]
        if now is not same:
            raise NotStackableError(
                f"the forward pass puts a new tensor in the place of buffer {name}; write into it "
                "with copy_ instead"
            )
        if now._version == version:
            continue
        if now.is_floating_point() and {now.dtype} == dtypes:
            moving.append(name)
        elif not now.is_floating_point() and now.dtype != torch.bool and (now == value + 1).all():
            counters.append(name)
        else:
            raise NotStackableError(
                f"the forward pass changes buffer {name}, which is neither of the weights' dtype "
                "nor a counter of steps"
            )
    return tuple(counters), tuple(moving)
