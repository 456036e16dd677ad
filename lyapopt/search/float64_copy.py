"""A copy in float64 of a model and its optimiser, which trains beside them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from lyapopt.dynamics.one_precision import InFloat64
from lyapopt.errors import PrecisionError, UserError
from lyapopt.search.model_copy import ModelCopy, random_direction


class Float64Copy(ModelCopy):
    """A copy in float64, which sees the noise that the model draws in its own precision."""

    _has_rounded = False

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self._drawn_in = next((p.dtype for p in model.parameters()), torch.float64)
        try:
            model.double()
            for state in optimizer.state.values():
                for name, value in state.items():
                    if isinstance(value, Tensor) and value.is_floating_point() and name != "step":
                        state[name] = value.double()
        except (TypeError, RuntimeError) as error:  # a device without float64
            raise PrecisionError(f"{type(error).__name__}: {error}") from error
        super().__init__(model, optimizer)

    def check(self, model: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> None:
        """Refuse a loss that cannot be repeated with other weights.

        Raises:
            TrainingError: If the loss reads what is not in the copy, or depends on earlier passes.
            PrecisionError: If the model or the loss does not run in float64.
        """
        try:
            super().check(model, loss_of)
        except UserError:
            raise
        except Exception as error:
            if self._drawn_in == torch.float64:
                raise  # its owner's trouble: nothing was cast
            raise PrecisionError(
                f"its first batch raised {type(error).__name__}: {error} in float64"
            ) from error
        if self._has_rounded:
            raise PrecisionError("a part of it computes in a lower precision than float64 always")

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Context of a forward pass."""
        with super().passing(), InFloat64(self._drawn_in) as context:
            yield
        self._has_rounded |= context.has_rounded

    def accumulate(self, loss_of: Callable[[nn.Module], Tensor], weight: float) -> float:
        """Add the gradient of a loss times `weight`; the loss."""
        with self.passing():
            loss = loss_of(self.model)
        # Nothing but the copy's weights: what else the loss reads belongs to others.
        with torch.enable_grad():
            torch.autograd.backward(weight * loss, inputs=self.trained)
        return float(loss.detach())

    def step(self, like: torch.optim.Optimizer, clip: float | None) -> None:
        """A step with the hyperparameters that another optimiser has now."""
        self.set_hyperparameters(like)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(self.trained, clip)
        self.take_step()

    @torch.no_grad()
    def perturb(self, radius: float, seed: int) -> None:
        """Move the weights by `radius` in a random direction."""
        direction = radius * random_direction(sum(p.numel() for p in self.trained), seed)
        start = 0
        for p in self.trained:
            p.add_(direction[start : start + p.numel()].view_as(p).to(p.device))
            start += p.numel()

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
