"""Whether a training stands still: no gradient reaches its weights any more."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from lyapopt.probe.verdicts import tail_length

_ROUNDINGS = 16  # how many roundings still count as standing still
_RESOLVED = 1e-2  # separations with a larger rounding error say nothing
_EQUAL = 8  # roundings between two losses that are equal
_MOVED = 1e-6  # of the norm of the weights: a gradient that moved them so far would be seen


def stand_still(
    log_separations: Float[Tensor, "times systems neighbours"],
    losses: Float[Tensor, "steps systems trajectories"],
    tail_weights: Float[Tensor, "systems weights"],
    final_weights: Float[Tensor, "systems weights"],
    radius: float,
) -> list[bool]:
    """Which systems are dead over the last quarter of the horizon.

    Either nothing but rounding changes: separations are equal, and so are weights or losses (a
    training that has converged stands still too, but its separations shrink). Or weight decay alone
    moves the weights: they move, though reference and neighbours have the same loss at every step,
    so that no gradient is left that could tell them apart. A loss that has come down to exactly
    zero is no death.

    Args:
        log_separations: As if never rescaled, `(horizon + 1, M, K)`.
        losses: At every step, reference first; of the reference alone with tangents.
        tail_weights: Weights of the references a quarter of the horizon before its end, `(M, P)`.
        final_weights: Their weights at its end, `(M, P)`.
        radius: Separation of the neighbours.
    """
    eps = torch.finfo(final_weights.dtype).eps
    tail = tail_length(len(losses))
    norms: Tensor = torch.linalg.vector_norm(final_weights, dim=-1)
    rounding = _ROUNDINGS * eps * (1 + norms / radius)
    log = log_separations[-tail - 1 :]
    spread = (log - log[:1]).abs().amax((0, 2)).to(norms)
    is_frozen = (spread <= rounding) & (rounding < _RESOLVED)
    late = losses[-tail - 1 :]
    own = late[:, :, 0]
    keeps_loss = own.amax(0) - own.amin(0) <= _EQUAL * eps * own.abs().amax(0)
    keeps_weights = _keeps(tail_weights, final_weights, eps)
    is_dead = is_frozen & (keeps_weights | keeps_loss)
    has_neighbours = losses.shape[-1] > 1  # else a small gradient is not told from none
    moves = _decay(tail_weights, final_weights, eps)
    if has_neighbours:
        moves |= _move(tail_weights, final_weights)
    is_dead |= _without_gradient(late, keeps_loss, eps) & moves
    is_solved = (own == 0).all(0) & (losses[0, :, 0] != 0)
    return (is_dead & ~is_solved).tolist()


def rest(
    losses: Float[Tensor, "steps systems"],
    tail_weights: Float[Tensor, "systems weights"],
    final_weights: Float[Tensor, "systems weights"],
) -> list[bool]:
    """Which references do not move over the last quarter of the horizon, as far as rounding tells.

    What can be said without neighbours: neither weights nor loss change. A loss of exactly zero is
    no death. What moves weights of float32 at all is taken for a step, as it would be in float64.
    """
    eps = torch.finfo(final_weights.dtype).eps
    late = losses[-tail_length(len(losses)) - 1 :]
    keeps_loss = late.amax(0) - late.amin(0) <= _EQUAL * eps * late.abs().amax(0)
    is_solved = (late == 0).all(0)
    fine = torch.finfo(torch.float64).eps
    return (keeps_loss & _keeps(tail_weights, final_weights, fine) & ~is_solved).tolist()


def _keeps(before: Tensor, after: Tensor, eps: float) -> Tensor:
    return ((after - before).abs() <= 4 * eps * after.abs()).all(-1)


def _decay(before: Tensor, after: Tensor, eps: float) -> Tensor:
    """Whether some weights have moved, and none but towards zero."""
    inwards = ((after.abs() <= before.abs()) & (after * before >= 0)).all(-1)
    return inwards & ~_keeps(before, after, eps)


def _move(before: Tensor, after: Tensor) -> Tensor:
    """Whether the weights have moved farther than by any gradient that could not be seen."""
    moved: Tensor = torch.linalg.vector_norm(after - before, dim=-1)
    norm: Tensor = torch.linalg.vector_norm(before, dim=-1)
    return moved > _MOVED * norm


def _without_gradient(late: Tensor, keeps_loss: Tensor, eps: float) -> Tensor:
    """Whether no loss depends on the weights any more, as far as can be seen."""
    if late.shape[-1] == 1:
        return keeps_loss
    apart = (late - late[:, :, :1]).abs().amax(-1)
    return (apart <= _EQUAL * eps * late[:, :, 0].abs()).all(0)
