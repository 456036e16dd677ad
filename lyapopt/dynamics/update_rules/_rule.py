"""The interface of an update rule.

A rule is split in two, so that a step is a handful of elementwise operations: the algebra on
hyperparameters (`coefficients`, float64, once for a window of steps) and the update of the flat
state (`update`, in the dtype of the state).
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor

Block = Float[Tensor, "systems trajectories weights"]
"""The weights, a slot or the gradients of all rows."""

Slots = Sequence[Block]
"""What an optimiser keeps beside the weights, in the order of `UpdateRule.slots`."""

Rows = Float[Tensor, "*rows weights"]
"""A slot of any rows."""

Hyperparameters = Mapping[str, Float64[Tensor, "steps systems groups"]]
"""By name; `count` is the number of the update, from 1."""

Coefficients = Mapping[str, Float[Tensor, "systems 1 #weights"]]
"""What `update` reads, by name; one number stands for all weights if there is one group."""

Flag = bool | Bool[Tensor, "systems 1 weights"]
"""A switch: one for all, or one for each weight where they differ."""

Setting = Mapping[str, Any]
"""A parameter group of an optimiser."""

SpreadFlag = Callable[[Sequence[Sequence[bool]]], Flag]
"""Turns the values of a boolean setting, by system and parameter group, into a `Flag`."""

Root = Callable[[Tensor], Tensor]
"""The square root of second moments: `torch.sqrt`, or `smooth_root` under derivatives."""


class UpdateRule(ABC):
    """One optimiser: what it keeps beside the weights, and how it steps.

    Args:
        settings: The `param_groups` of every optimiser in the stack (all of one type).
        spread: Makes a `Flag` of a setting that differs between systems or groups.

    Attributes:
        optimizers: Those whose steps the rule makes.
        numbers: Numeric hyperparameters that the rule reads, in torch's names.
        maximize: Where the loss is maximised.
        decays: Whether any system has a weight decay.
    """

    optimizers: tuple[type[torch.optim.Optimizer], ...]
    numbers: tuple[str, ...]

    def __init__(self, settings: Sequence[Sequence[Setting]], spread: SpreadFlag) -> None:
        self._settings = settings
        self._spread = spread
        self.maximize = self._switch(lambda group: bool(group["maximize"]))
        self.decays = self.any(lambda group: group["weight_decay"] != 0)

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """Names of the slots in `torch.optim`'s own state, in the order of the flat state."""

    @abstractmethod
    def coefficients(
        self, h: Hyperparameters
    ) -> dict[str, Float64[Tensor, "steps systems groups"]]:
        """The numbers that `update` needs, by name."""

    @abstractmethod
    def update(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, root: Root
    ) -> tuple[Block, tuple[Block, ...]]:
        """The weights and slots after a step with the gradients `g`."""

    def advance(
        self, w: Block, slots: Slots, g: Block, c: Coefficients, w_new: Block, slots_new: Slots
    ) -> None:
        """The same step, written to `w_new` and `slots_new`; `g` may be overwritten.

        A pass over the state is most of what an update costs, so that rules write it with as few as
        they can.
        """
        result, kept = self.update(w, slots, g, c, torch.sqrt)
        w_new.copy_(result)
        for slot, value in zip(slots_new, kept, strict=True):
            slot.copy_(value)

    def retract(self, slots: Sequence[Rows]) -> Sequence[Rows] | None:
        """Slots built by hand moved back to where `update` is defined; `None` if all are."""
        return None

    @property
    def left_out(self) -> tuple[str, ...]:
        """Numbers that are zero in the whole stack, so that `update` does not read them."""
        return () if self.decays else ("weight_decay",)

    def select(self, rows: Sequence[int]) -> Self:
        """The rule of some of the systems, with the same slots."""
        chosen = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(chosen, name, value[list(rows)])
        return chosen

    def any(self, holds: Callable[[Setting], bool]) -> bool:
        """Whether a setting holds anywhere in the stack."""
        return any(holds(group) for groups in self._settings for group in groups)

    def _switch(self, holds: Callable[[Setting], bool]) -> Flag:
        values = [[holds(group) for group in groups] for groups in self._settings]
        distinct = {value for groups in values for value in groups}
        return distinct.pop() if len(distinct) == 1 else self._spread(values)

    def _ascend(self, g: Block) -> Block:
        """The gradient, with its sign changed where the optimiser maximises."""
        return choose(self.maximize, lambda: -g, lambda: g)


def choose(flag: Flag, yes: Callable[[], Tensor], no: Callable[[], Tensor]) -> Tensor:
    """`yes()` where the flag is set, `no()` elsewhere; computes both only where they differ."""
    if isinstance(flag, Tensor):
        return torch.where(flag, yes(), no())
    return yes() if flag else no()


def smooth_root(x: Tensor) -> Tensor:
    """The square root, with derivative 0 at 0.

    A weight whose gradient is exactly zero has a second moment of zero that no first-order change
    of the state moves, where `torch.sqrt` would make NaN of infinity times zero.
    """
    is_zero = x == 0
    return torch.where(is_zero, 0.0, torch.where(is_zero, 1.0, x).sqrt())
