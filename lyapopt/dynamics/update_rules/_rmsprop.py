"""RMSprop, plain and centred, with momentum."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.update_rules._rule import (
    Block,
    Coefficients,
    Hyperparameters,
    Root,
    Rows,
    Setting,
    Slots,
    SpreadFlag,
    UpdateRule,
    choose,
)


class RMSprop(UpdateRule):
    """`v <- a v + (1 - a) g^2`, `b <- mu b + g / (sqrt(v) + eps)`, `w <- w - lr b`.

    The centred form subtracts the square of the mean gradient from `v` under the root.

    Source: Tieleman & Hinton 2012; Graves 2013 (centred).
    """

    optimizers = (torch.optim.RMSprop,)
    numbers = ("lr", "alpha", "eps", "momentum", "weight_decay")

    def __init__(self, settings: Sequence[Sequence[Setting]], spread: SpreadFlag) -> None:
        super().__init__(settings, spread)
        self.centered = self._switch(lambda group: bool(group["centered"]))
        self.has_momentum = self.any(lambda group: group["momentum"] != 0)

    @property
    def slots(self) -> tuple[str, ...]:
        """The mean square, and the mean and the momentum buffer where any system has them."""
        is_centered = isinstance(self.centered, Tensor) or self.centered
        return (
            "square_avg",
            *(("grad_avg",) if is_centered else ()),
            *(("momentum_buffer",) if self.has_momentum else ()),
        )

    @property
    def left_out(self) -> tuple[str, ...]:
        """Also the momentum, where no system has any."""
        return super().left_out + (() if self.has_momentum else ("momentum",))

    def retract(self, slots: Sequence[Rows]) -> Sequence[Rows]:
        """The mean square is at least the square of the mean, or zero where that is not kept."""
        v = slots[0].clamp(min=0)
        if "grad_avg" in self.slots:
            v = choose(self.centered, lambda: torch.maximum(v, slots[1] * slots[1]), lambda: v)
        return (v, *slots[1:])

    def coefficients(self, h: Hyperparameters) -> dict[str, Tensor]:
        """The hyperparameters themselves, and the complement of alpha."""
        names = ("lr", "alpha", "eps", "momentum", "weight_decay")
        return {**{name: h[name] for name in names}, "1-alpha": 1 - h["alpha"]}

    def update(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, root: Root
    ) -> tuple[Block, tuple[Block, ...]]:
        """One step of every system."""
        g = self._ascend(g)
        if self.decays:
            g = g + c["weight_decay"] * w
        v = c["alpha"] * slots[0] + c["1-alpha"] * (g * g)
        kept = [v]
        square = v
        if "grad_avg" in self.slots:
            mean = c["alpha"] * slots[1] + c["1-alpha"] * g
            square = choose(self.centered, lambda: v - mean * mean, lambda: v)
            kept.append(mean)
        direction = g / (root(square) + c["eps"])
        if self.has_momentum:
            direction = c["momentum"] * slots[-1] + direction
            kept.append(direction)
        return w - c["lr"] * direction, tuple(kept)

    def advance(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, w_new: Block, slots_new: Slots
    ) -> None:
        """One step of every system, in place."""
        if "grad_avg" in self.slots:
            return super().advance(w, slots, g, c, w_new, slots_new)
        g = self._ascend(g)
        if self.decays:
            g = torch.addcmul(g, c["weight_decay"], w)
        v = torch.mul(slots[0], c["alpha"], out=slots_new[0]).addcmul_(c["1-alpha"], g * g)
        direction = g.div(v.sqrt().add_(c["eps"]))
        if self.has_momentum:
            direction = torch.addcmul(direction, c["momentum"], slots[-1], out=slots_new[-1])
        torch.addcmul(w, c["lr"], direction, value=-1, out=w_new)
        return None
