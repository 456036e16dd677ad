"""Which modules can be measured: plain ones, and compiled ones by what they were made from.

Every entry point asks here before anything is trained or copied, so that all of them say the same.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from lyapopt.errors import TrainingError

_REWRITING: dict[type, str] = {
    WeightNorm: ("torch.nn.utils.weight_norm; use torch.nn.utils.parametrizations.weight_norm"),
    SpectralNorm: (
        "torch.nn.utils.spectral_norm; use torch.nn.utils.parametrizations.spectral_norm"
    ),
    BasePruningMethod: (
        "torch.nn.utils.prune; make it permanent with prune.remove, or use a parametrization"
    ),
}


def plain_module(model: nn.Module, what: str = "model") -> nn.Module:
    """The model as it was before `torch.compile`; any other model is returned as it is.

    Parameters are the same objects, so that optimisers stay right. If a part of the model is
    compiled, the tree around it is copied.

    Raises:
        TrainingError: If the model is none that neighbours of it can be made of: scripted, sparse,
            complex, not initialised, or with weights that a hook makes anew in every pass.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> plain_module(torch.compile(model)) is model
        True
    """
    while is_compiled(model):
        model = original(model)
    check_module(model, what)
    compiled = [part for part in model.modules() if is_compiled(part)]
    if compiled or any(part._compiled_call_impl is not None for part in model.modules()):
        memo: dict[int, Any] = {id(parameter): parameter for parameter in model.parameters()}
        # A copy of a wrapper is a copy of what it wraps; innermost first.
        for part in reversed(compiled):
            memo[id(part)] = copy.deepcopy(original(part), memo)
        model = copy.deepcopy(model, memo)
    return model


def plain_loss(loss_fn: Any) -> Any:
    """A loss as it was before `torch.compile`.

    Raises:
        TrainingError: If it is a module, and one that cannot be measured.
    """
    if isinstance(loss_fn, nn.Module):
        return plain_module(loss_fn, "loss_fn")
    return getattr(loss_fn, "_torchdynamo_orig_callable", loss_fn)


def is_compiled(part: nn.Module) -> bool:
    """Whether it is what `torch.compile` returns."""
    # Not isinstance: to import torch._dynamo takes a second.
    return type(part).__module__.startswith("torch._dynamo") and "_orig_mod" in part._modules


def original(part: nn.Module) -> nn.Module:
    """The module that a compiled one was made from."""
    return part.get_submodule("_orig_mod")


def check_module(model: nn.Module, what: str = "model") -> None:
    """Refuse modules that no neighbour can be made of.

    Raises:
        TrainingError: Says which part, and what to give instead.
    """
    for name, part in model.named_modules():
        where = f"{what}.{name}" if name else what
        if isinstance(part, torch.jit.ScriptModule):
            raise TrainingError(
                f"{where} is a scripted or traced module of torch.jit, which cannot be copied with "
                "its weights; give the nn.Module that it was made from"
            )
        if _is_spread(part):
            raise TrainingError(
                f"{where} trains in several processes ({type(part).__name__}), of which a copy "
                "would see the batches of one only; measure it in one process, on batches as large "
                "as those of all together"
            )
        for hook in part._forward_pre_hooks.values():
            for made_by, advice in _REWRITING.items():
                if isinstance(hook, made_by):
                    raise TrainingError(
                        f"{where} has weights that a hook makes anew in every pass, by {advice}"
                    )
        if isinstance(part, nn.Embedding | nn.EmbeddingBag) and part.sparse:
            raise TrainingError(
                f"{where} has a sparse gradient; use nn.{type(part).__name__}(..., sparse=False)"
            )
    for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
        _check_tensor(f"{what}.{name}", tensor)


def _is_spread(part: nn.Module) -> bool:
    """Whether its gradients are those of several processes."""
    if not isinstance(part, nn.parallel.DistributedDataParallel):
        return False
    group: Any = part.process_group
    return torch.distributed.get_world_size(group) > 1


def _check_tensor(where: str, tensor: Tensor) -> None:
    if nn.parameter.is_lazy(tensor):
        raise TrainingError(
            f"{where} is not initialised (a lazy module); run one batch through the model before "
            "the optimizer is made"
        )
    if tensor.is_meta:
        raise TrainingError(f"{where} is on the meta device and has no values")
    if tensor.is_complex():
        raise TrainingError(
            f"{where} is complex; keep real and imaginary part as two real tensors "
            "(torch.view_as_real, and torch.view_as_complex in the forward pass)"
        )
    if tensor.layout != torch.strided or tensor.is_nested:
        layout = "nested" if tensor.is_nested else f"sparse ({tensor.layout})"
        raise TrainingError(f"{where} is {layout}; make it dense with to_dense()")
    if tensor.is_quantized:
        raise TrainingError(f"{where} is quantised and cannot be trained; give the float model")
