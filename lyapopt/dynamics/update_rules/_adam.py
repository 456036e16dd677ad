"""Adam and AdamW, with AMSGrad."""

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


class Adam(UpdateRule):
    """`m <- b1 m + (1 - b1) g`, `v <- b2 v + (1 - b2) g^2`, `w <- w - lr m^ / (sqrt(v^) + eps)`.

    `m^ = m / (1 - b1^n)` and `v^ = v / (1 - b2^n)` at the n-th update. AdamW shrinks the weights by
    `1 - lr wd` instead of adding `wd w` to the gradient; the two stack together.

    Source: Kingma & Ba 2015, algorithm 1; Loshchilov & Hutter 2019; Reddi et al. 2018 (AMSGrad).
    """

    optimizers = (torch.optim.Adam, torch.optim.AdamW)
    numbers = ("lr", "beta1", "beta2", "eps", "weight_decay", "decoupled_weight_decay")

    def __init__(self, settings: Sequence[Sequence[Setting]], spread: SpreadFlag) -> None:
        super().__init__(settings, spread)
        self.amsgrad = self._switch(lambda group: bool(group["amsgrad"]))
        self.shrinks = self.decays and self.any(lambda group: group["decoupled_weight_decay"])
        self.adds_decay = self.decays and self.any(
            lambda group: not group["decoupled_weight_decay"]
        )

    @property
    def slots(self) -> tuple[str, ...]:
        """First and second moment, and the largest second moment if any system keeps it."""
        keeps_maximum = isinstance(self.amsgrad, Tensor) or self.amsgrad
        return ("exp_avg", "exp_avg_sq") + (("max_exp_avg_sq",) if keeps_maximum else ())

    def retract(self, slots: Sequence[Rows]) -> Sequence[Rows]:
        """Second moments that are negative become zero."""
        return (slots[0], *(slot.clamp(min=0) for slot in slots[1:]))

    def coefficients(self, h: Hyperparameters) -> dict[str, Tensor]:
        """Bias corrections are folded into the step size and into a factor on the root."""
        decoupled = h["decoupled_weight_decay"]
        return {
            "step_size": h["lr"] / (1 - h["beta1"] ** h["count"]),
            "root_scale": (1 - h["beta2"] ** h["count"]).sqrt().reciprocal(),
            "beta1": h["beta1"],
            "beta2": h["beta2"],
            "1-beta1": 1 - h["beta1"],
            "1-beta2": 1 - h["beta2"],
            "eps": h["eps"],
            "weight_decay": h["weight_decay"] * (1 - decoupled),
            "shrink": 1 - h["lr"] * h["weight_decay"] * decoupled,
        }

    def update(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, root: Root
    ) -> tuple[Block, tuple[Block, ...]]:
        """One step of every system."""
        g = self._ascend(g)
        if self.adds_decay:
            g = g + c["weight_decay"] * w
        if self.shrinks:
            w = w * c["shrink"]
        m = c["beta1"] * slots[0] + c["1-beta1"] * g
        v = c["beta2"] * slots[1] + c["1-beta2"] * (g * g)
        if len(slots) == 2:
            return w - c["step_size"] * m / (root(v) * c["root_scale"] + c["eps"]), (m, v)
        largest = torch.maximum(slots[2], v)
        second = choose(self.amsgrad, lambda: largest, lambda: v)
        w = w - c["step_size"] * m / (root(second) * c["root_scale"] + c["eps"])
        return w, (m, v, largest)

    def advance(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, w_new: Block, slots_new: Slots
    ) -> None:
        """One step of every system, in place."""
        g = self._ascend(g)
        if self.adds_decay:
            g = torch.addcmul(g, c["weight_decay"], w)
        m = torch.mul(slots[0], c["beta1"], out=slots_new[0]).addcmul_(c["1-beta1"], g)
        v = torch.mul(slots[1], c["beta2"], out=slots_new[1]).addcmul_(c["1-beta2"], g * g)
        if len(slots) > 2:
            largest = torch.maximum(slots[2], v, out=slots_new[2])
            v = choose(self.amsgrad, lambda: largest, lambda: v)
        root = v.sqrt().mul_(c["root_scale"]).add_(c["eps"])
        if self.shrinks:
            w = w * c["shrink"]
        torch.addcdiv(w, m * c["step_size"], root, value=-1, out=w_new)
