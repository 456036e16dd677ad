"""The objects of a user's own training loop, as trainings at other rates of the very same start."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from lyapopt.checks import Arguments
from lyapopt.dynamics import Training
from lyapopt.dynamics.data import check_type
from lyapopt.dynamics.first_batches import read_first_batches
from lyapopt.dynamics.training import Data, LossFunction, Scheduler
from lyapopt.search.probing.building import seeded
from lyapopt.search.steering.optimizer_rates import at_rate


@dataclass
class LoopObjects:
    """What a loop trains, with what, and on what.

    Args:
        model: Called as `model(*inputs)`.
        optimizer: Over its parameters, of any rate; its groups keep their ratio to the first.
        loss_fn: `loss_fn(model(*inputs), target) -> scalar`.
        loader: Where batches come from.
        batch_size: Examples a batch, where that is no loader; `None` is the full batch.
        scheduler: A schedule, as a function from the step to a factor on the rate.
        clip_grad_norm: The norm that gradients are clipped to, if they are.
        steps: How many batches are read, when the first training wants them.
        seed: Seed of their order, and of what a data set draws.
    """

    model: nn.Module
    optimizer: torch.optim.Optimizer
    loss_fn: LossFunction
    loader: Data
    batch_size: int | None
    scheduler: Scheduler | None
    clip_grad_norm: float | None
    steps: int
    seed: int
    _tensors: tuple[Tensor, ...] = field(default=(), init=False)

    def check(self, check: Arguments) -> None:
        """Refuse an object of the wrong type."""
        check.instance("model", self.model, nn.Module, "an nn.Module")
        optimizers = "a torch.optim.Optimizer"
        check.instance("optimizer", self.optimizer, torch.optim.Optimizer, optimizers)
        check.function("loss_fn", self.loss_fn, "a function of outputs and target")
        check_type(self.loader, "loader")
        check.optional(check.whole, "batch_size", self.batch_size, least=1)
        if self.clip_grad_norm != math.inf:  # which clips nothing
            check.optional(check.real, "clip_grad_norm", self.clip_grad_norm, above=0)

    def at(self, rate: float) -> Training:
        """The training at a rate, on the same batches at all rates."""
        if not self._tensors:
            self._read()
        return Training(
            self.model,
            self.loss_fn,
            at_rate(self.optimizer, rate),
            self._tensors,
            self.batch_size,
            scheduler=self.scheduler,
            clip_grad_norm=self.clip_grad_norm,
            seed=self.seed,
        )

    def _read(self) -> None:
        with seeded(self.seed):
            examples, self.batch_size = read_first_batches(
                self.loader, self.steps, self.batch_size, self.seed
            )
        device = next((p.device for p in self.model.parameters()), None)
        self._tensors = tuple(tensor.to(device) for tensor in examples.tensors)
