"""One step of a map together with tangent vectors, by forward-mode differentiation."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

import torch
from torch import Tensor
from torch.func import jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from lyapopt.dynamics.maps import Map
from lyapopt.errors import UserError
from lyapopt.exponents.checks import check_step

_AFTER_ONCE: Any = (None, 0)  # the next state is the same for all tangents


class TangentStep:
    """Pushes states and tangent vectors through a map.

    The first way is `vmap` over tangents of `jvp` of the map, which computes the reference once.
    Maps with an operation that cannot be nested in it are stepped with one copy of the reference
    for each tangent on the axis of trajectories.

    Args:
        step: The map.
        chunk: Tangents pushed at once; `None` is all of them.
    """

    def __init__(self, step: Map, chunk: int | None) -> None:
        self._step = step
        self._chunk = chunk
        self._is_nested = True

    def __call__(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """The next state `(M, 1, D)` and the tangents there, `(k, M, D)`.

        Raises:
            UserError: If the map cannot be differentiated in forward mode.
        """
        z = z.clone()  # a map may work in place
        chunks = torch.split(tangents, self._chunk or len(tangents))
        after, moved = self._push(z, chunks[0], t)
        rest = [self._push(z, chunk, t)[1] for chunk in chunks[1:]]
        return after, torch.cat([moved, *rest]) if rest else moved

    def _push(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        if self._is_nested:
            try:
                return self._nested(z, tangents, t)
            except (RuntimeError, NotImplementedError):
                self._is_nested = False  # tried once; the message of the other way is clearer
        try:
            return self._in_rows(z, tangents, t)
        except (RuntimeError, NotImplementedError) as error:
            raise UserError(
                f"the map cannot be differentiated in forward mode at step {t} ({error}); "
                "from_neighbours needs no derivatives"
            ) from error

    def _nested(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        def push(tangent: Tensor) -> tuple[Tensor, Tensor]:
            return cast(tuple[Tensor, Tensor], jvp(self._map(t), (z,), (tangent,)))

        # Batches are drawn by generators of their own, the same for all tangents.
        over_tangents = vmap(push, out_dims=_AFTER_ONCE, randomness="same")
        after, moved = over_tangents(tangents.unsqueeze(2))
        return after.detach(), moved.detach()[:, :, 0]

    def _in_rows(self, z: Tensor, tangents: Tensor, t: int) -> tuple[Tensor, Tensor]:
        rows = z.expand(-1, len(tangents), -1).contiguous()
        along = tangents.movedim(0, 1).contiguous()
        after, moved = cast(tuple[Tensor, Tensor], jvp(self._map(t), (rows,), (along,)))
        return after.detach()[:, :1].contiguous(), moved.detach().movedim(1, 0)

    def _map(self, t: int) -> Callable[[Tensor], Tensor]:
        def step(z: Tensor) -> Tensor:
            after = self._step(z, t)
            check_step(z, after)
            return after

        return step


@contextmanager
def differentiable() -> Iterator[None]:
    """What forward-mode differentiation needs: attention without fused kernels, no false alarms."""
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        # torch resizes a buffer of its own in the derivative of mse_loss and warns of it.
        warnings.filterwarnings("ignore", message="An output with one or more elements was resized")
        # torch compiles its own forward derivatives when they are first used.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="torch")
        yield
