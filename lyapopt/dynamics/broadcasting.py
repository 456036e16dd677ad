"""A loss whose outputs and targets have different shapes is refused, where torch only warns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor
from torch.overrides import TorchFunctionMode

from lyapopt.errors import TrainingError

_COMPARE_NUMBER_BY_NUMBER = frozenset(
    {
        *(F.mse_loss, F.l1_loss, F.smooth_l1_loss, F.huber_loss),
        *(F.poisson_nll_loss, F.soft_margin_loss, F.kl_div),
    }
)


class RefusedBroadcasting(TorchFunctionMode):
    """While it is active, torch's losses refuse outputs and targets of different shapes.

    Of outputs `(N, 1)` and targets `(N,)` they would compare every output with every target.

    Args:
        where: What the message begins with.

    Raises:
        TrainingError: If they are given any; the message says what to write.
    """

    def __init__(self, where: str = "Training") -> None:
        super().__init__()
        self._where = where

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func in _COMPARE_NUMBER_BY_NUMBER:
            compared = [*args, *(given[name] for name in ("input", "target") if name in given)]
            self._check(func.__name__, *compared[:2])
        return func(*args, **given)

    def _check(self, name: str, outputs: Tensor, target: Tensor) -> None:
        if outputs.shape == target.shape:
            return
        advice = "give the model as many outputs as there are targets"
        if outputs.numel() == target.numel():
            shape = ", ".join(map(str, (-1, *outputs.shape[1:])))
            advice = f"reshape the targets: target.view({shape})"
        raise TrainingError(
            f"{self._where}: {name} of outputs {tuple(outputs.shape)} and targets "
            f"{tuple(target.shape)} would compare each output with many targets; {advice}"
        )
