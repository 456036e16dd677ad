"""Tangents through one step of a real module and a real `torch.optim` object.

The derivative of the gradient is a second backward pass (Pearlmutter's trick), which needs nothing
but operations whose gradients have gradients; that of the optimiser's step is torch's forward mode
on the very code of the optimiser.

Source: Pearlmutter, Neural Computation 6 (1994) 147-160.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.forward_ad import dual_level, make_dual, unpack_dual
from torch.overrides import TorchFunctionMode

from lyapopt.dynamics.unstacked_state import FlatState
from lyapopt.errors import NotStackableError

Gradients = list[Tensor | None]
"""Of every parameter; `None` where the loss does not depend on it."""


class GradientsAlong:
    """Gradients of a sum of losses, and their derivatives along some directions.

    Args:
        parameters: Of the losses.
        directions: K directions, each a tensor for every parameter.

    Attributes:
        gradients: So far.
        derivatives: So far, of each direction.

    Example:
        >>> w = torch.tensor([2.0], requires_grad=True)
        >>> sums = GradientsAlong([w], [[torch.tensor([1.0])]])
        >>> sums.add((w**3).sum())
        >>> sums.gradients, sums.derivatives
        ([tensor([12.])], [[tensor([12.])]])
    """

    def __init__(
        self, parameters: Sequence[Tensor], directions: Sequence[Sequence[Tensor]]
    ) -> None:
        self._parameters = parameters
        self._directions = directions
        self.gradients: Gradients = [None for _ in parameters]
        self.derivatives: list[Gradients] = [[None for _ in parameters] for _ in directions]

    @torch.enable_grad()
    def add(self, loss: Tensor) -> None:
        """Add those of a loss, whose graph is freed."""
        found = torch.autograd.grad(
            loss, self._parameters, create_graph=bool(self._directions), allow_unused=True
        )
        self.gradients = _sum(self.gradients, found)
        # What does not depend on any parameter has no derivative.
        bent = [i for i, each in enumerate(found) if each is not None and each.requires_grad]
        for k, direction in enumerate(self._directions):
            along: Sequence[Tensor | None] = [None for _ in self._parameters]
            if bent:
                # The Hessian is symmetric, so that its rows are its columns.
                along = torch.autograd.grad(
                    [found[i] for i in bent],
                    self._parameters,
                    [direction[i] for i in bent],
                    retain_graph=k + 1 < len(self._directions),
                    allow_unused=True,
                )
            self.derivatives[k] = _sum(self.derivatives[k], along)


def _sum(sums: Gradients, added: Sequence[Tensor | None]) -> Gradients:
    found: Gradients = []
    for total, each in zip(sums, added, strict=True):
        own = None if each is None else each.detach()
        found.append(own if total is None else total if own is None else total + own)
    return found


class StepTangents:
    """A step of a module and its optimiser, with tangents.

    Args:
        optimizer: The optimiser.
        state: Where everything lies in a state.
        parameters: The trained ones.
        buffers: Those of the module.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        state: FlatState,
        parameters: Sequence[Tensor],
        buffers: Sequence[Tensor],
    ) -> None:
        self._optimizer = optimizer
        self._state = state
        self._parameters = parameters
        self._buffers = buffers
        self._has_checked = not buffers

    def push(
        self,
        z: Float[Tensor, " dim"],
        tangents: Float[Tensor, "tangents dim"],
        losses: Callable[[], Iterator[Tensor]],
        clip_grad_norm: float | None,
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, "tangents dim"]]:
        """The next state, and the tangents there; those of buffers stay as they are.

        Args:
            z: Before the step.
            tangents: At `z`.
            losses: Their gradients add up; the same whenever it is called.
            clip_grad_norm: Largest 2-norm of the gradient.

        Raises:
            NotStackableError: If a pass reads a buffer that the pass before has written.
            RuntimeError: If the step cannot be differentiated.
        """
        self._state.write(z)
        sums = GradientsAlong(self._parameters, [self._state.weights_of(v) for v in tangents])
        found = []
        for loss in losses():
            sums.add(loss)
            found.append(loss.detach())
        buffers = [buffer.clone() for buffer in self._buffers]
        if not self._has_checked:
            _check_unread(found, [loss.detach() for loss in losses()])
            self._has_checked = True
        moved = self._step(z, tangents, sums, clip_grad_norm)
        with torch.no_grad():
            for buffer, value in zip(self._buffers, buffers, strict=True):
                buffer.copy_(value)
        return self._state.read(has_stepped=True), moved

    def _step(
        self, z: Tensor, tangents: Tensor, sums: GradientsAlong, clip_grad_norm: float | None
    ) -> Tensor:
        """Tangents after a step of the optimiser; its state is that after the step."""
        optimizer, moved = self._optimizer, []
        for tangent, derivatives in zip(tangents, sums.derivatives, strict=True):
            with torch.no_grad(), _one_by_one(optimizer), dual_level(), _Differentiable():
                self._state.write(_dual(z.clone(), tangent))
                each = zip(self._parameters, sums.gradients, derivatives, strict=True)
                for p, gradient, along in each:
                    p.grad = None if gradient is None else _dual(gradient.clone(), along)
                if clip_grad_norm is not None:
                    nn.utils.clip_grad_norm_(self._parameters, clip_grad_norm, foreach=False)
                optimizer.step()
                own = _unpacked(self._state.read(has_stepped=True))[1]
                moved.append(torch.zeros_like(z) if own is None else own.clone())
        optimizer.zero_grad()
        return torch.stack(moved)


def _check_unread(losses: Sequence[Tensor], again: Sequence[Tensor]) -> None:
    """Refuse a pass that reads a buffer which passes write into: buffers have no tangents here."""
    for one, other in zip(losses, again, strict=True):
        margin = torch.finfo(one.dtype).eps ** 0.75
        if not torch.allclose(one, other, rtol=margin, atol=0, equal_nan=True):
            raise NotStackableError(
                "a pass reads a buffer that the pass before has written, which tangents cannot "
                "follow"
            )


def _dual(value: Tensor, tangent: Tensor | None) -> Tensor:
    if tangent is None:
        return value
    found: Tensor = make_dual(value, tangent)  # type: ignore[no-untyped-call]  # torch has no types
    return found


def _unpacked(dual: Tensor) -> tuple[Tensor, Tensor | None]:
    value, tangent = unpack_dual(dual)  # type: ignore[no-untyped-call]  # torch has no types
    return value, tangent


@contextmanager
def _one_by_one(optimizer: torch.optim.Optimizer) -> Iterator[None]:
    """Step parameter by parameter: fused kernels have no forward derivative."""
    names = ("foreach", "fused")
    before = [{n: group[n] for n in names if n in group} for group in optimizer.param_groups]
    try:
        for group, known in zip(optimizer.param_groups, before, strict=True):
            group.update(dict.fromkeys(known, False))
        yield
    finally:
        for group, known in zip(optimizer.param_groups, before, strict=True):
            group.update(known)


class _Differentiable(TorchFunctionMode):
    """While it is active, what optimisers do is differentiated.

    They detach (momentum begins with a detached gradient), write into given outputs, and take roots
    of second moments, whose slope at zero is infinite: there nothing moves.
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Call the function, or what has the same values and a derivative."""
        given = dict(kwargs or {})
        if func in _DETACHING:
            return args[0].view_as(args[0])
        if func in _ROOTS:
            return _root(func, args[0])
        out = given.pop("out", None)
        found = func(*args, **given)
        return found if out is None else out.copy_(found)


_DETACHING = (torch.Tensor.detach, torch.detach, torch.Tensor.data.__get__)  # type: ignore[attr-defined]
_ROOTS = (torch.Tensor.sqrt, torch.sqrt, torch.Tensor.sqrt_)


def _root(func: Callable[..., Any], square: Tensor) -> Any:
    value, tangent = _unpacked(square)
    if tangent is None:
        return func(square)
    root = value.sqrt()
    found = _dual(root, torch.where(root > 0, tangent / (2 * root), 0.0))
    return square.copy_(found) if func is torch.Tensor.sqrt_ else found
