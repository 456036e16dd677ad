"""A copy in float64 of a model and its optimiser, which trains beside them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.modules import is_compiled, plain_module
from lyapopt.dynamics.one_precision import InFloat64
from lyapopt.dynamics.trace import READS_MORE, leaves_of
from lyapopt.errors import PrecisionError, TrainingError, UserError

_NOT_IN_FLOAT64 = (
    "watch: the copy of the model in float64 {}; it is watched in float64 only, so let it run "
    "there as well: make its constants with x.new_zeros(...) or torch.zeros(..., dtype=x.dtype)"
)


class Float64Copy:
    """A copy in float64 of a model and its optimiser, trained on the same batches.

    Args:
        model: The copied model.
        optimizer: Its copied optimiser.
        drawn_in: Precision in which the model draws noise, so that a copy sees the same.

    Attributes:
        parameters: Weights that the optimiser trains.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, drawn_in: torch.dtype
    ) -> None:
        self.model = model
        self._drawn_in = drawn_in
        self.optimizer = optimizer
        every = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters: list[Tensor] = [p for p in every if p.requires_grad]
        self._is_new = True

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> Float64Copy:
        """Copy both.

        Raises:
            UserError: If the model is scripted, sparse, complex or the like, they cannot be copied,
                do not belong together, or train nothing.
        """
        _refuse_closure(optimizer)
        model = plain_module(model)
        try:
            copied, copied_optimizer = copy.deepcopy((model, optimizer))
        except Exception as error:
            raise UserError(
                f"watch: the model or its optimizer cannot be copied: {type(error).__name__}: "
                f"{error}"
            ) from error
        drawn_in = next((p.dtype for p in model.parameters()), torch.float64)
        found = cls(copied.double(), copied_optimizer, drawn_in)
        if not found.parameters:
            raise UserError("watch: the optimizer has no parameters to train")
        owned = {id(parameter) for parameter in copied.parameters()}
        if not owned.intersection(map(id, found.parameters)):
            raise UserError("watch: the optimizer does not train this model's parameters")
        for state in copied_optimizer.state.values():
            for name, value in state.items():
                if isinstance(value, Tensor) and value.is_floating_point() and name != "step":
                    state[name] = value.double()
        copied_optimizer.zero_grad()
        return found

    def weights(self) -> Tensor:
        """All of them, `(P,)`."""
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    @torch.no_grad()
    def perturb(self, radius: float, seed: int) -> None:
        """Move the weights by `radius` in a random direction."""
        source = torch.Generator().manual_seed(seed)
        count = sum(p.numel() for p in self.parameters)
        direction = torch.randn(count, generator=source, dtype=torch.float64)
        direction *= radius / direction.norm()
        start = 0
        for p in self.parameters:
            p.add_(direction[start : start + p.numel()].view_as(p).to(p.device))
            start += p.numel()

    def imitate(self, model: nn.Module) -> None:
        """Train or evaluate, module by module, as another model does now."""
        parts = [part for part in model.modules() if not is_compiled(part)]
        for own, theirs in zip(self.model.modules(), parts, strict=False):
            own.training = theirs.training

    def accumulate(self, loss_of: Callable[[nn.Module], Tensor], weight: float) -> float:
        """Add the gradient of a loss times `weight`; the loss.

        Raises:
            TrainingError: If the loss reads trainable tensors that are not the copy's.
            PrecisionError: If the model or the loss does not run in float64.
        """
        device = self.parameters[0].device.type
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            loss = self._first_loss(loss_of) if self._is_new else self._loss(loss_of)[0]
            torch.autograd.backward(weight * loss)
        return float(loss.detach())

    def _loss(self, loss_of: Callable[[nn.Module], Tensor]) -> tuple[Tensor, InFloat64]:
        with InFloat64(self._drawn_in) as context:
            return loss_of(self.model), context

    def _first_loss(self, loss_of: Callable[[nn.Module], Tensor]) -> Tensor:
        """The same, and what cannot be watched is refused before anything is trained."""
        try:
            loss, context = self._loss(loss_of)
        except UserError:
            raise
        except Exception as error:
            if self._drawn_in == torch.float64:
                raise  # its owner's trouble: nothing was cast
            what = f"raised {type(error).__name__}: {error}"
            raise PrecisionError(_NOT_IN_FLOAT64.format(what)) from error
        own = {id(parameter) for parameter in self.model.parameters()}
        if any(id(leaf) not in own for leaf in leaves_of(loss)):
            raise TrainingError(f"watch: {READS_MORE}")  # the copies would not have their own
        if context.has_rounded:
            raise PrecisionError(_NOT_IN_FLOAT64.format("computes a part in a lower precision"))
        self._is_new = False
        return loss

    def step(self, like: torch.optim.Optimizer, clip: float | None) -> None:
        """A step with the hyperparameters that another optimiser has now."""
        for own, theirs in zip(self.optimizer.param_groups, like.param_groups, strict=True):
            own.update({name: value for name, value in theirs.items() if name != "params"})
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def separation(self, other: Float64Copy) -> float:
        """Distance of the weights."""
        return float(torch.linalg.vector_norm(self.weights() - other.weights()))

    @torch.no_grad()
    def rescale(self, reference: Float64Copy, factor: float) -> None:
        """Shrink the difference to a reference: weights and the optimiser's slots alike."""
        for own, theirs in zip(self.parameters, reference.parameters, strict=True):
            own.copy_(theirs + factor * (own - theirs))
            slots = reference.optimizer.state.get(theirs, {})
            for name, value in self.optimizer.state.get(own, {}).items():
                if isinstance(value, Tensor) and value.is_floating_point() and name != "step":
                    rescaled = slots[name] + factor * (value - slots[name])
                    # Rounding must not make a second moment negative.
                    value.copy_(rescaled.clamp(min=0) if (value >= 0).all() else rescaled)


def in_float64(value: Any) -> Any:
    """Floating-point tensors in float64, also inside tuples, lists and mappings.

    Complex tensors are complex128.

    Example:
        >>> in_float64({"x": torch.ones(1), "ids": [torch.ones(1, dtype=torch.int64)]})
        {'x': tensor([1.], dtype=torch.float64), 'ids': [tensor([1])]}
    """
    if isinstance(value, Tensor):
        if value.is_complex():
            return value.detach().to(torch.complex128)
        return value.detach().double() if value.is_floating_point() else value
    if isinstance(value, Mapping):
        return {name: in_float64(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [in_float64(part) for part in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def _refuse_closure(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        name = type(optimizer).__name__
        raise UserError(
            f"watch: {name} evaluates the loss several times a step and cannot be watched"
        )
