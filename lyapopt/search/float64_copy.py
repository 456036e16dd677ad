"""A copy in float64 of a model and its optimiser, which trains beside them."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.modules import is_compiled, plain_module
from lyapopt.dynamics.one_precision import InFloat64
from lyapopt.dynamics.replaying import check_hooks, check_passes, check_steps
from lyapopt.dynamics.surroundings import Surroundings
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
        parameters: Weights that the optimiser trains when the copy is made.
        surroundings: What a pass of the copy reaches beside its tensors.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, drawn_in: torch.dtype
    ) -> None:
        self.model = model
        self._drawn_in = drawn_in
        self.optimizer = optimizer
        every = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters: list[Tensor] = [p for p in every if p.requires_grad]
        self.surroundings = Surroundings(model)

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> Float64Copy:
        """Copy both.

        Raises:
            UserError: If the model is scripted, sparse, complex or the like, they cannot be copied,
                do not belong together, or train nothing.
        """
        _refuse_closure(optimizer)
        model = plain_module(model)
        check_hooks(model)
        check_steps(model, optimizer)
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
        count = sum(p.numel() for p in self.trained)
        direction = torch.randn(count, generator=source, dtype=torch.float64)
        direction *= radius / direction.norm()
        start = 0
        for p in self.trained:
            p.add_(direction[start : start + p.numel()].view_as(p).to(p.device))
            start += p.numel()

    @property
    def trained(self) -> list[Tensor]:
        """The weights that are trained now: some may have been frozen since, or thawed."""
        every = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [p for p in every if p.requires_grad]

    def imitate(self, model: nn.Module, around: Surroundings) -> bool:
        """Train, evaluate, freeze and draw, module by module, as another model does now.

        Args:
            model: The other one.
            around: Its surroundings.

        Returns:
            Whether other weights are trained than before.
        """
        parts = [part for part in model.modules() if not is_compiled(part)]
        for own, theirs in zip(self.model.modules(), parts, strict=False):
            own.training = theirs.training
        self.surroundings.imitate(around)
        has_changed = False
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            has_changed |= mine.requires_grad != its.requires_grad
            mine.requires_grad_(its.requires_grad)
        return has_changed

    def check(self, model: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> None:
        """Refuse a loss that cannot be repeated with other weights.

        Args:
            model: The user's, which must not be read.
            loss_of: The loss of a model on one batch.

        Raises:
            TrainingError: If the loss reads what is not in the copy, or depends on earlier passes.
            PrecisionError: If the model or the loss does not run in float64.
        """
        contexts: list[InFloat64] = []

        def loss(model: nn.Module) -> Tensor:
            with self._pass() as context:
                contexts.append(context)
                return loss_of(model)

        copied = copy.deepcopy(self.model)
        try:
            check_passes(copied, plain_module(model), loss, Surroundings(copied, loss_of))
        except UserError:
            raise
        except Exception as error:
            if self._drawn_in == torch.float64:
                raise  # its owner's trouble: nothing was cast
            what = f"raised {type(error).__name__}: {error}"
            raise PrecisionError(_NOT_IN_FLOAT64.format(what)) from error
        if any(context.has_rounded for context in contexts):
            raise PrecisionError(_NOT_IN_FLOAT64.format("computes a part in a lower precision"))

    @contextmanager
    def _pass(self) -> Iterator[InFloat64]:
        """Context of a forward pass."""
        device = self.parameters[0].device.type
        no_autocast = torch.autocast(device, enabled=False)
        with torch.enable_grad(), no_autocast, InFloat64(self._drawn_in) as context:
            yield context

    def accumulate(self, loss_of: Callable[[nn.Module], Tensor], weight: float) -> float:
        """Add the gradient of a loss times `weight`; the loss."""
        with self._pass():
            loss = loss_of(self.model)
        # Nothing but the copy's weights: what else the loss reads belongs to others.
        with torch.enable_grad():
            torch.autograd.backward(weight * loss, inputs=self.trained)
        return float(loss.detach())

    def step(self, like: torch.optim.Optimizer, clip: float | None) -> None:
        """A step with the hyperparameters that another optimiser has now."""
        if len(self.optimizer.param_groups) != len(like.param_groups):
            raise TrainingError(
                "watch: the optimizer has got further parameter groups since its first step was "
                "watched; add them before, or stop watching then"
            )
        for own, theirs in zip(self.optimizer.param_groups, like.param_groups, strict=True):
            own.update({name: value for name, value in theirs.items() if name != "params"})
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    @torch.no_grad()
    def separation(self, other: Float64Copy) -> float:
        """Distance of the weights."""
        pairs = zip(self.trained, other.trained, strict=True)
        return float(torch.stack([torch.linalg.vector_norm(a - b) for a, b in pairs]).norm())

    @torch.no_grad()
    def rescale(self, reference: Float64Copy, factor: float) -> None:
        """Shrink the difference to a reference: weights, buffers, the optimiser's slots alike."""
        for own, theirs in zip(self.model.buffers(), reference.model.buffers(), strict=True):
            if own.is_floating_point():
                own.copy_(_between(theirs, own, factor))
        for own, theirs in zip(self.trained, reference.trained, strict=True):
            own.copy_(theirs + factor * (own - theirs))
            slots = reference.optimizer.state.get(theirs, {})
            for name, value in self.optimizer.state.get(own, {}).items():
                if isinstance(value, Tensor) and value.is_floating_point() and name != "step":
                    value.copy_(_between(slots[name], value, factor))

    @torch.no_grad()
    def freeze_as(self, reference: Float64Copy) -> None:
        """Give weights that are not trained those of a reference: they do not separate."""
        pairs = zip(self.model.parameters(), reference.model.parameters(), strict=True)
        for own, theirs in pairs:
            if not own.requires_grad:
                own.copy_(theirs)


def _between(start: Tensor, end: Tensor, factor: float) -> Tensor:
    """A part of the way; rounding does not make a variance or a second moment negative."""
    found = start + factor * (end - start)
    return found.clamp(min=0) if (end >= 0).all() else found


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
