"""The updates of `torch.optim`, written on a flat stacked state."""

from __future__ import annotations

import torch

from lyapopt.dynamics.update_rules._adam import Adam
from lyapopt.dynamics.update_rules._rmsprop import RMSprop
from lyapopt.dynamics.update_rules._rule import Coefficients, Flag, Root, UpdateRule, smooth_root
from lyapopt.dynamics.update_rules._sgd import SGD
from lyapopt.errors import NotStackableError

__all__ = [
    "SGD",
    "Adam",
    "Coefficients",
    "Flag",
    "RMSprop",
    "Root",
    "UpdateRule",
    "rule_for",
    "smooth_root",
]

_RULES: tuple[type[UpdateRule], ...] = (SGD, Adam, RMSprop)


def rule_for(optimizer: torch.optim.Optimizer) -> type[UpdateRule]:
    """The rule that does what `optimizer` does.

    Raises:
        NotStackableError: If there is none. A subclass of a known optimiser is not one: its `step`
            may do anything.
    """
    for rule in _RULES:
        if type(optimizer) in rule.optimizers:
            return rule
    names = ", ".join(known.__name__ for rule in _RULES for known in rule.optimizers)
    raise NotStackableError(
        f"the optimizer {type(optimizer).__name__} has no update rule here (there are: {names})"
    )
