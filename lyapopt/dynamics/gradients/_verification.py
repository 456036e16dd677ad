"""Every row of a stack must do what its model does alone: checked once, on a first batch.

`structure` decides by looking at modules. This check decides by running them: whatever the forward
pass reads that is neither parameter, buffer nor compared attribute shows here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.batches import StackedBatches
from lyapopt.dynamics.gradients._interface import RowGradients
from lyapopt.dynamics.gradients._stack import StackGradients
from lyapopt.dynamics.gradients.rowwise import NoRule
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.system import System
from lyapopt.dynamics.trace import Trace
from lyapopt.errors import NotStackableError, UserError


def verify_stack(
    systems: Sequence[System], gradients: StackGradients, batches: StackedBatches
) -> None:
    """Compare losses, gradients and buffers of the stack with those of models by themselves.

    Of models that differ in numbers only, torch's own modules, one stands for all. What goes wrong
    without `vmap` is tried again with it.

    Raises:
        NotStackableError: If the stack cannot run, or a row differs by more than rounding.
    """
    every = [system.trace.index for system in systems]
    have_one_index = all(i is every[0] or torch.equal(i, every[0]) for i in every[1:])
    indices = torch.stack(every[: 1 if have_one_index else None])
    rows = [row for row, system in enumerate(systems) if system.is_traced] or [0]
    traces = {row: systems[row].own_trace() for row in rows}
    w = torch.stack([system.flat_weights() for system in systems])
    b = torch.stack([system.flat_buffers() for system in systems])
    # Two trajectories each, so that a system by itself is checked as a stack too.
    w, b = w.repeat_interleave(2, 0), b.repeat_interleave(2, 0)
    batch = batches.of(indices, 2)
    if gradients.is_batched:
        try:
            with Surroundings().kept() as kept:
                _compare(traces, gradients(w, b, batch, 0), 2)
                if len(systems) == 1:
                    _compare(traces, gradients(w[:1], b[:1], batches.of(indices), 0), 1)
            if kept.has_drawn:
                raise NoRule("random numbers")
        except Exception as error:
            gradients.use_vmap(f"{type(error).__name__}: {_first_line(error)}")
        else:
            return
    try:
        found = gradients(w, b, batch, 0)
    except UserError:
        raise
    except Exception as error:
        raise NotStackableError(
            "the model runs by itself but not with others in one stack (torch.func.vmap): "
            f"{type(error).__name__}: {_first_line(error)}"
        ) from error
    _compare(traces, found, 2)


def _compare(traces: Mapping[int, Trace], every: RowGradients, copies: int) -> None:
    """Refuse a row of the stack that differs from its model by itself.

    Args:
        traces: By the position of their system.
        every: What the stack gives, with every system in several rows.
        copies: Rows of a system.
    """
    systems = list(traces)
    places = [row * copies + k for row in systems for k in range(copies)]
    g, losses, buffers = (part[places] for part in every)
    # A gradient may be a small difference of large terms, and GPUs round inputs of convolutions to
    # 10 bits; what this looks for (another activation, a mask drawn anew) is far outside.
    margin = torch.finfo(g.dtype).eps ** 0.3
    alone = (
        torch.stack([trace.loss.to(g).view(1) for trace in traces.values()]),
        torch.stack([trace.gradient for trace in traces.values()]),
        torch.stack([trace.buffers for trace in traces.values()]),
    )
    agree = torch.ones(len(g), dtype=torch.bool, device=g.device)
    for own, stacked in zip(alone, (losses.unsqueeze(1), g, buffers), strict=True):
        agree &= _agree(own.repeat_interleave(copies, 0), stacked, margin)
    if not agree.all():
        row = int(agree.logical_not().nonzero()[0])
        raise NotStackableError(
            f"system {systems[row // copies]} gives loss {losses[row].item():.6g} in the stack and "
            f"{alone[0][row // copies].item():.6g} by itself, or other gradients or buffers: "
            "its forward pass or its loss reads something that is neither parameter nor buffer, or "
            "draws random numbers"
        )


def _agree(a: Tensor, b: Tensor, margin: float) -> Tensor:
    """Which rows agree; infinite and undefined values must be at the same places."""
    finite = a.isfinite()
    difference = torch.where(finite, a - b, 0.0).norm(dim=1)
    size = torch.where(finite, a, 0.0).norm(dim=1)
    agree: Tensor = (finite == b.isfinite()).all(1) & (difference <= margin * (size + margin))
    return agree


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]
