"""Stochastic gradient descent with momentum, dampening, Nesterov's step and weight decay."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics.update_rules._rule import (
    Block,
    Coefficients,
    Hyperparameters,
    Root,
    Setting,
    Slots,
    SpreadFlag,
    UpdateRule,
    choose,
)


class SGD(UpdateRule):
    """`b <- mu b + (1 - dampening) g`, `w <- w - lr b` (torch's form of the heavy ball).

    The first update takes `b = g` without dampening, which makes the map depend on time. Where no
    parameter group has momentum the buffer is left out of the state (`structure` sees to it that
    systems without one have stacks of their own).
    """

    optimizers = (torch.optim.SGD,)
    numbers = ("lr", "momentum", "dampening", "weight_decay")

    def __init__(self, settings: Sequence[Sequence[Setting]], spread: SpreadFlag) -> None:
        super().__init__(settings, spread)
        self.nesterov = self._switch(lambda group: bool(group["nesterov"]))
        self.has_momentum = self.any(lambda group: group["momentum"] != 0)

    @property
    def slots(self) -> tuple[str, ...]:
        """The momentum buffer, if any system has one."""
        return ("momentum_buffer",) if self.has_momentum else ()

    @property
    def left_out(self) -> tuple[str, ...]:
        """Also the momentum, where no system has any."""
        return super().left_out + (() if self.has_momentum else ("momentum",))

    def coefficients(self, h: Hyperparameters) -> dict[str, Tensor]:
        """Learning rate, momentum, the share of the gradient that enters the buffer, decay."""
        # torch ignores dampening in the first update and where there is no momentum.
        undamped = (h["momentum"] == 0) | (h["count"] == 1)
        share = torch.where(undamped, torch.ones_like(h["dampening"]), 1 - h["dampening"])
        return {
            "lr": h["lr"],
            "momentum": h["momentum"],
            "share": share,
            "weight_decay": h["weight_decay"],
        }

    def update(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, root: Root
    ) -> tuple[Block, tuple[Block, ...]]:
        """One step of every system."""
        g = self._ascend(g)
        if self.decays:
            g = g + c["weight_decay"] * w
        if not self.has_momentum:
            return w - c["lr"] * g, ()
        b = c["momentum"] * slots[0] + c["share"] * g
        direction = choose(self.nesterov, lambda: g + c["momentum"] * b, lambda: b)
        return w - c["lr"] * direction, (b,)

    def advance(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, w_new: Block, slots_new: Slots
    ) -> None:
        """One step of every system, in place."""
        g = self._ascend(g)
        if self.decays:
            g = torch.addcmul(g, c["weight_decay"], w)
        if self.has_momentum:
            b = torch.mul(slots[0], c["momentum"], out=slots_new[0]).addcmul_(c["share"], g)
            # The gradient is of no further use where the buffer is the direction.
            g = choose(self.nesterov, lambda: torch.addcmul(g, c["momentum"], b), lambda: b)
        torch.addcmul(w, c["lr"], g, value=-1, out=w_new)
