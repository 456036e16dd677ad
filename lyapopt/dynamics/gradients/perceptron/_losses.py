"""Losses of all rows, and their derivatives in the outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor, nn

from lyapopt.dynamics.gradients.perceptron._hooks import is_plain

RowLosses = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From outputs `(rows, batch, units)`, targets and memory for the derivative to the losses."""


def row_losses_of(loss_fn: object, targets: Sequence[Tensor], units: int) -> RowLosses | None:
    """How a loss is computed for all rows; `None` for one that is not known here.

    Args:
        loss_fn: The loss of a training.
        targets: Those of all systems.
        units: How many outputs there are.
    """
    distinct = {id(target): target for target in targets}.values()
    if _is_cross_entropy(loss_fn) and all(_are_classes(target, units) for target in distinct):
        return _cross_entropy
    if _is_mean_square(loss_fn) and all(
        target.is_floating_point() and target.shape[1:] == (units,) for target in distinct
    ):
        return _mean_square
    return None


def _is_cross_entropy(loss_fn: object) -> bool:
    if type(loss_fn) is not nn.CrossEntropyLoss:
        return loss_fn is F.cross_entropy
    # Where an index that is ignored is negative, no target has it: see `_are_classes`.
    is_common = loss_fn.weight is None and not loss_fn.label_smoothing and loss_fn.ignore_index < 0
    return is_common and loss_fn.reduction == "mean" and is_plain(loss_fn)


def _is_mean_square(loss_fn: object) -> bool:
    if type(loss_fn) is not nn.MSELoss:
        return loss_fn is F.mse_loss
    return loss_fn.reduction == "mean" and is_plain(loss_fn)


def _are_classes(target: Tensor, units: int) -> bool:
    """Whether all targets are classes that there are, none of them to be ignored."""
    is_column = target.dtype == torch.int64 and target.dim() == 1 and len(target) > 0
    return is_column and int(target.min()) >= 0 and int(target.max()) < units


def _cross_entropy(z: Tensor, target: Tensor, d: Tensor) -> Tensor:
    rows, batch, _ = z.shape
    index = target.view(-1, batch, 1).expand(rows, batch, 1)
    torch.sub(z, z.amax(-1, keepdim=True), out=d)
    right = d.gather(2, index).squeeze(2)
    d.exp_()
    total = d.sum(-1, keepdim=True)
    losses = (total.squeeze(2).log() - right).mean(1)
    d.div_(total * batch)
    d.scatter_add_(2, index, d.new_full((1, 1, 1), -1.0 / batch).expand(rows, batch, 1))
    return losses


def _mean_square(z: Tensor, target: Tensor, d: Tensor) -> Tensor:
    torch.sub(z, target, out=d)
    losses = d.square().mean((1, 2))
    d.mul_(2.0 / d[0].numel())
    return losses
