"""A copy of a model and its optimiser, which trains beside them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

import torch
from torch import Tensor, nn

from lyapopt.dynamics.modules import is_compiled, plain_module
from lyapopt.dynamics.replaying import check_hooks, check_passes, check_steps
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.errors import TrainingError, UserError


class ModelCopy:
    """A copy of a model and its optimiser, in their own precision.

    Args:
        model: The copied model.
        optimizer: Its copied optimiser.

    Attributes:
        parameters: Weights that the optimiser trains when the copy is made.
        surroundings: What a pass of the copy reaches beside its tensors.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model = model
        self.optimizer = optimizer
        every = [p for group in optimizer.param_groups for p in group["params"]]
        self.parameters: list[Tensor] = [p for p in every if p.requires_grad]
        self.surroundings = Surroundings(model)
        if not self.parameters:
            raise UserError("watch: the optimizer has no parameters to train")
        owned = {id(parameter) for parameter in model.parameters()}
        if not owned.intersection(map(id, self.parameters)):
            raise UserError("watch: the optimizer does not train this model's parameters")
        optimizer.zero_grad()

    @classmethod
    def of(cls, model: nn.Module, optimizer: torch.optim.Optimizer) -> Self:
        """Copy both.

        Raises:
            UserError: If the model is scripted, sparse, complex or the like, they cannot be copied,
                do not belong together, or train nothing.
        """
        model = plain_module(model)
        check_hooks(model)
        check_steps(model, optimizer)
        try:
            return cls(*copy.deepcopy((model, optimizer)))
        except UserError:
            raise
        except Exception as error:
            raise UserError(
                f"watch: the model or its optimizer cannot be copied: {type(error).__name__}: "
                f"{error}"
            ) from error

    def weights(self) -> Tensor:
        """All of them, `(P,)`."""
        return torch.cat([p.detach().reshape(-1) for p in self.parameters])

    @property
    def trained(self) -> list[Tensor]:
        """The weights that are trained now: some may have been frozen since, or thawed."""
        every = [p for group in self.optimizer.param_groups for p in group["params"]]
        return [p for p in every if p.requires_grad]

    def imitate(self, model: nn.Module, around: Surroundings) -> bool:
        """Train, evaluate, freeze and draw, module by module, as another model does now.

        Args:
            model: The other one.
            around: Its surroundings.

        Returns:
            Whether other weights are trained than before.
        """
        parts = [part for part in model.modules() if not is_compiled(part)]
        for own, theirs in zip(self.model.modules(), parts, strict=False):
            own.training = theirs.training
        self.surroundings.imitate(around)
        has_changed = False
        for mine, its in zip(self.model.parameters(), model.parameters(), strict=True):
            has_changed |= mine.requires_grad != its.requires_grad
            mine.requires_grad_(its.requires_grad)
        return has_changed

    def check(self, model: nn.Module, loss_of: Callable[[nn.Module], Tensor]) -> None:
        """Refuse a loss that cannot be repeated with other weights.

        Args:
            model: The user's, which must not be read.
            loss_of: The loss of a model on one batch.

        Raises:
            TrainingError: If the loss reads what is not in the copy, or depends on earlier passes.
        """

        def loss(model: nn.Module) -> Tensor:
            with self.passing():
                return loss_of(model)

        copied = copy.deepcopy(self.model)
        check_passes(copied, plain_module(model), loss, Surroundings(copied, loss_of))

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Context of a forward pass."""
        device = self.parameters[0].device.type
        with torch.enable_grad(), torch.autocast(device, enabled=False):
            yield

    def take_step(self) -> None:
        """Let the optimiser step, and drop the gradients.

        Raises:
            UserError: If it does not step by itself.
        """
        try:
            self.optimizer.step()
        except Exception as error:
            name = type(self.optimizer).__name__
            raise UserError(
                f"watch: {name} cannot be watched, since copies step without a closure, and there "
                f"it raised {type(error).__name__}: {error}"
            ) from error
        self.optimizer.zero_grad()

    def set_hyperparameters(self, like: torch.optim.Optimizer) -> None:
        """Take those that another optimiser has now."""
        if len(self.optimizer.param_groups) != len(like.param_groups):
            raise TrainingError(
                "watch: the optimizer has got further parameter groups since its first step was "
                "watched; add them before, or stop watching then"
            )
        for own, theirs in zip(self.optimizer.param_groups, like.param_groups, strict=True):
            own.update({name: value for name, value in theirs.items() if name != "params"})


def random_direction(count: int, seed: int) -> Tensor:
    """A unit vector in float64, `(count,)`."""
    source = torch.Generator().manual_seed(seed)
    direction = torch.randn(count, generator=source, dtype=torch.float64)
    direction /= direction.norm()
    return direction
