"""A good learning rate for one network now, without a study: from the objects of a loop."""

from __future__ import annotations

import torch
from torch import nn

from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.training import Data, LossFunction, Scheduler
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.probing.probes import optimizer_name
from lyapopt.search.steering.found_rate import Steering
from lyapopt.search.steering.loop_objects import LoopObjects
from lyapopt.search.steering.one_network import range_and_steps
from lyapopt.search.steering.rate_rules import rule_of
from lyapopt.search.steering.rate_search import RateSearch, budget_of
from lyapopt.search.steering.schedules import warm_up


def find_lr(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss_fn: LossFunction,
    loader: Data,
    *,
    steps: int | None = None,
    low: float = 1e-5,
    high: float = 10.0,
    batch_size: int | None = None,
    scheduler: Scheduler | None = None,
    clip_grad_norm: float | None = None,
    target: float | None = None,
    seed: int = 0,
) -> Steering:
    """A good learning rate for a network, from the objects of a training loop of one's own.

        found = lyapopt.find_lr(model, optimizer, loss_fn, loader)
        for group in optimizer.param_groups:
            group["lr"] = found.rate

    A copy of the network trains for 8 steps beside a slightly perturbed neighbour, and the rate is
    the largest at which the two separate by less than 0.003 nats per step. For Adam and its like,
    whose edge is blurred, 16 steps of the loss decide: the rate is a quarter of a decade below the
    largest that lowers it as much as any smaller one. The search begins at a usual rate, goes by
    decades until one is too hot and one is not, and halves that down to a quarter of a decade: 4 or
    5 rates, mostly 64 to 80 gradient evaluations. It begins at the present weights, in float64
    where the network can be run so, and no schedule is applied: of one that warms up the rate is
    its largest.

    Model, optimizer, loader and all generators are left as they are, bit for bit. Parameter groups
    of different rates keep their ratio to the first.

    Args:
        model: Called as `model(*inputs)`.
        optimizer: Over its parameters, of any rate.
        loss_fn: `loss_fn(model(*inputs), target) -> scalar`.
        loader: A `DataLoader` of `(*inputs, target)` batches, a map-style `Dataset`, or tensors.
        steps: Steps of the training: a quarter of them is spent at most, and never more than 300
            gradient evaluations.
        low, high: Range of rates.
        batch_size: Examples a batch, where `loader` is no loader; `None` is the full batch.
        scheduler: The schedule, of torch or as a function from the step to a factor on the rate:
            `notes` say where it hides the answer.
        clip_grad_norm: The norm that the loop clips gradients to, if it does.
        target: Exponent from which a rate is too hot, nats per step.
        seed: Seed of batches and perturbations.

    Returns:
        The rate with its `status`, a `table` and a `figure()` of what was measured, its cost, and
        `notes` of what cannot be known: where no rate is too hot or all are, nothing moves, the
        loss is on a plateau, the schedule warms up, or `steps` are too few.

    Raises:
        SteeringFailedError: If the first steps raise at every rate, or the loss is not finite from
            the start.
        UserError: If an argument is of another type or out of its range.

    Example:
        >>> model, x = nn.Linear(2, 1), torch.eye(2)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> found = find_lr(model, sgd, nn.functional.mse_loss, (x, x[:, :1]), steps=400)
        >>> found.status, 0.3 < found.rate < 2, found.gradient_evaluations <= 100
        ('crossed', True, True)
        >>> found.table[["rate", "exponent", "fall"]].shape[1], sgd.param_groups[0]["lr"]
        (3, 0.1)
    """
    check = SearchArguments("find_lr")
    axis, target, steps = range_and_steps(check, low, high, target, steps)
    check.instance("optimizer", optimizer, torch.optim.Optimizer, "a torch.optim.Optimizer")
    name, budget = optimizer_name(optimizer), budget_of(steps)
    rule = rule_of(name, target, budget)
    loop = LoopObjects(
        model,
        optimizer,
        loss_fn,
        loader,
        batch_size,
        None,
        clip_grad_norm,
        steps=rule.steps,
        seed=derive_seed(check.whole("seed", seed), "find_lr"),
    )
    loop.check(check)
    if not isinstance(scheduler, torch.optim.lr_scheduler.LRScheduler):
        example = "a torch.optim.lr_scheduler or a function of the step"
        check.optional(check.function, "scheduler", scheduler, example=example)
    note = warm_up(optimizer, scheduler, steps)
    return RateSearch(
        where="find_lr",
        at=loop.at,
        axis=axis,
        budget=budget,
        optimizer=name,
        rule=rule,
    ).run((note,) if note else ())
