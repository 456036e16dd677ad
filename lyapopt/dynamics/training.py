"""`Training`: ordinary PyTorch objects that define one training run, and what comes of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from lyapopt.checks import Arguments
from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.data import Examples, check_type
from lyapopt.dynamics.modules import plain_loss, plain_module
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.errors import TrainingError

LossFunction = Callable[[Any, Tensor], Tensor]
Metric = Callable[[Any, Tensor], Any]
Scheduler = torch.optim.lr_scheduler.LRScheduler | Callable[[int], float]
Data = tuple[Tensor, ...] | Dataset[Any] | DataLoader[Any]


@dataclass(eq=False)
class Training:
    """One configuration: a model, its loss, its optimiser and its data. Nothing is trained here.

    Args:
        model: An `nn.Module`; its present weights are the initial condition. Of a compiled one, the
            module that it was made from is taken.
        loss_fn: `loss_fn(model(*inputs), target) -> scalar`, a mean over the batch.
        optimizer: A `torch.optim` object over the model's parameters; parameter groups and an
            optimiser state that already exists are honoured.
        data: `(inputs, target)` or `(input_1, ..., target)` tensors, a map-style `Dataset` or a
            `DataLoader` (its batch size, order and `drop_last` are taken over).
        batch_size: Examples per step; `None` (or more than there are) is the full batch. With
            mini-batches every epoch is shuffled from `seed`, and a last batch that would be smaller
            is left out.
        steps: Optimiser steps of the whole training; `None` where only a horizon is measured.
        scheduler: A `torch.optim.lr_scheduler` on `optimizer`, stepped once per optimiser step, or
            a function from the step to a factor on the learning rate.
        clip_grad_norm: Largest 2-norm of the gradient of all parameters of the optimiser together,
            as `torch.nn.utils.clip_grad_norm_` has it.
        validation: Data that the final loss is taken on; `None` takes the training data.
        metric: `metric(outputs, target) -> number` on the same data.
        seed: Order of the batches and dropout masks follow from it.

    Raises:
        TrainingError: If a part has the wrong type or cannot work with another, or the model is
            scripted, sparse, complex, not initialised, or has weights that a hook makes anew.

    Example:
        >>> model = nn.Linear(2, 1)
        >>> training = Training(
        ...     model,
        ...     nn.MSELoss(),
        ...     torch.optim.SGD(model.parameters(), lr=0.1),
        ...     data=(torch.randn(8, 2), torch.randn(8, 1)),
        ... )
    """

    model: nn.Module
    loss_fn: LossFunction
    optimizer: torch.optim.Optimizer
    data: Data
    batch_size: int | None = None
    steps: int | None = None
    scheduler: Scheduler | None = None
    clip_grad_norm: float | None = None
    validation: Data | None = None
    metric: Metric | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check = Arguments("Training", TrainingError)
        check.instance("model", self.model, nn.Module, "an nn.Module")
        check.function("loss_fn", self.loss_fn, "a function of outputs and target")
        example = "a torch.optim object such as torch.optim.SGD(model.parameters(), lr=0.1)"
        check.instance("optimizer", self.optimizer, torch.optim.Optimizer, example)
        check_type(self.data, "data")
        if self.validation is not None:
            check_type(self.validation, "validation")
        check.optional(check.function, "metric", self.metric)
        self.model, self.loss_fn = plain_module(self.model), plain_loss(self.loss_fn)
        self._check_scheduler(check)
        self.batch_size = check.optional(check.whole, "batch_size", self.batch_size, least=1)
        self.steps = check.optional(check.whole, "steps", self.steps, least=1)
        self.seed = check.whole("seed", self.seed)
        clip = self.clip_grad_norm
        if clip != math.inf:  # which clips nothing
            self.clip_grad_norm = check.optional(check.real, "clip_grad_norm", clip, above=0)

    def _check_scheduler(self, check: Arguments) -> None:
        if isinstance(self.scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau):
            raise TrainingError(
                "Training: ReduceLROnPlateau depends on the losses, so that it is no function of "
                "the step; use a schedule that is (StepLR, CosineAnnealingLR, LambdaLR, ...)"
            )
        if isinstance(self.scheduler, torch.optim.lr_scheduler.LRScheduler):
            if self.scheduler.optimizer is not self.optimizer:
                raise TrainingError("Training: scheduler belongs to another optimizer")
        else:
            example = "a torch.optim.lr_scheduler or a function of the step"
            check.optional(check.function, "scheduler", self.scheduler, example=example)


def as_list(trainings: object) -> list[Training]:
    """Trainings as a list.

    Raises:
        TrainingError: If they are something else, such as one training that is in no list.
    """
    given: list[object] = list(trainings) if isinstance(trainings, Iterable) else [trainings]
    found = [each for each in given if isinstance(each, Training)]
    if not isinstance(trainings, Iterable) or len(found) < len(given):
        wrong = next((each for each in given if not isinstance(each, Training)), trainings)
        Arguments("", TrainingError).refuse("trainings", wrong, "a list of lyapopt.Training")
    return found


@dataclass(frozen=True)
class Evaluation:
    """What the reference trajectories achieve on the validation data.

    Attributes:
        losses: One a system.
        metrics: One a system, or `None` without a metric.
        examples: How many examples each was evaluated on.
    """

    losses: list[float]
    metrics: list[float] | None
    examples: int


def evaluate(parts: Iterable[tuple[nn.Module | Tensor, Training, Examples]]) -> Evaluation:
    """Loss and metric of models in evaluation mode, each with its training and its data.

    Args:
        parts: In the place of a model, its outputs may be given.
    """
    losses, metrics, count = [], [], 0
    for model, training, examples in parts:
        count = examples.count
        with _undisturbed(model, training) as own:
            # Code of the user's may write into what it is given.
            tensors = examples.tensors if own is None else [t.clone() for t in examples.tensors]
            *inputs, target = tensors
            outputs = model if isinstance(model, Tensor) else _outputs(model.eval(), inputs)
            with torch.no_grad(), RefusedBroadcasting("Training: validation"):
                losses.append(float(training.loss_fn(outputs, target)))
            if training.metric is not None:
                with torch.no_grad():
                    metrics.append(float(training.metric(outputs, target)))
    return Evaluation(losses, metrics or None, count)


def _outputs(model: nn.Module, inputs: list[Tensor]) -> Any:
    """Outputs without gradients, but where a model needs some of its own."""
    try:
        with torch.no_grad():
            return model(*inputs)
    except RuntimeError as error:
        if "does not require grad" not in str(error):
            raise
        with torch.enable_grad():  # it differentiates by its inputs
            return model(*inputs)


def _undisturbed(model: nn.Module | Tensor, training: Training) -> AbstractContextManager[object]:
    """What an evaluation runs in: generators are seeded, and afterwards all is as it was.

    A loss of torch's and a metric of ours, given outputs, draw nothing and keep nothing.
    """
    is_known = isinstance(model, Tensor)
    if is_known and _is_quiet_loss(training.loss_fn) and _is_quiet_metric(training.metric):
        return nullcontext()
    around = Surroundings(None if is_known else model, training.loss_fn, training.metric)
    return around.kept(derive_seed(training.seed, "evaluation"))


def _is_quiet_loss(loss_fn: LossFunction) -> bool:
    return (
        type(loss_fn).__module__ == "torch.nn.modules.loss"
        and isinstance(loss_fn, nn.Module)
        and "forward" not in vars(loss_fn)
        and not (loss_fn._forward_hooks or loss_fn._forward_pre_hooks)
    )


def _is_quiet_metric(metric: object) -> bool:
    return metric is None or getattr(metric, "__module__", None) == "lyapopt.tasks.builder"


def one_tensor(outputs: object) -> Tensor:
    """The outputs of a model, if separations can be measured in them.

    Raises:
        TrainingError: If they are not one tensor.
    """
    if not isinstance(outputs, Tensor):
        raise TrainingError(
            f"the model returns a {type(outputs).__name__}; separations in outputs need one "
            "tensor (separations in weights do not)"
        )
    return outputs
