"""Ways to make the steps of a workload: each a function that makes some and counts them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lyapopt.bench.speed.workloads import Workload
from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.compilation import Compile
from lyapopt.dynamics.data import read_examples, read_order
from lyapopt.exponents import from_neighbours

Work = Callable[[], float]
"""Does a piece of work; returns the trajectory-steps that it made."""


def eager(training: Training, steps: int = 1) -> Work:
    """The plain loop over `torch.optim`, which every ratio refers to."""
    examples = read_examples(training.data)
    order = read_order(training.data, examples, training.batch_size, training.seed)
    model, optimizer, loss_fn = training.model, training.optimizer, training.loss_fn
    batches = [order.epoch(0)[k] for k in range(order.steps_per_epoch)]
    x, y = examples.tensors

    def work() -> float:
        for step in range(steps):
            index = batches[step % len(batches)]
            inputs, target = (x, y) if order.is_full_batch else (x[index], y[index])
            optimizer.zero_grad()
            loss = loss_fn(model(inputs), target)
            loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
            optimizer.step()
        return steps

    return work


def stacked(workload: Workload, compile: Compile = "off", steps: int = 1) -> Work:
    """lyapopt: all systems and trajectories in one tensor."""
    step = TrainingMap(workload.trainings(), compile=compile)
    state = step.initial_state().repeat(1, workload.trajectories, 1)

    def work() -> float:
        z = state
        for t in range(steps):
            z, _ = step.step_with_losses(z, t)
        return float(steps * workload.rows)

    return work


def batched_matmul(workload: Workload) -> Work:
    """What one would write by hand for this very net: batched products and autograd."""
    rows, last = workload.rows, len(workload.widths) - 2
    x, y = workload.data()
    inputs = x[: workload.batch].expand(rows, -1, -1)
    target = y[: workload.batch].expand(rows, *y[: workload.batch].shape)
    model = workload.model()
    linear = [part for part in model if isinstance(part, nn.Linear)]
    weights = [_copies(part.weight.t(), rows) for part in linear]
    biases = [_copies(part.bias.unsqueeze(0), rows) for part in linear]
    leaves = [*weights, *biases]
    rates = torch.full((rows, 1, 1), 0.01)
    activation = workload.activation()

    def work() -> float:
        h = inputs
        for k, (w, b) in enumerate(zip(weights, biases, strict=True)):
            h = torch.baddbmm(b, h, w)
            h = h if k == last else activation(h)
        if workload.classes:
            flat = F.cross_entropy(h.flatten(0, 1), target.reshape(-1), reduction="none")
            losses = flat.view(rows, -1).mean(1)
        else:
            losses = (h - target).square().mean((1, 2))
        gradients = torch.autograd.grad(losses.sum(), leaves)
        with torch.no_grad():
            for leaf, gradient in zip(leaves, gradients, strict=True):
                leaf.sub_(rates * gradient)
        return float(rows)

    return work


def deep_lyapunov(workload: Workload, epochs: int) -> Work | None:
    """PyPI's deep-lyapunov on its own terms, if it is installed: the trajectories of one net."""
    if importlib.util.find_spec("deep_lyapunov") is None:
        return None
    analyzer_of: Any = importlib.import_module("deep_lyapunov").StabilityAnalyzer
    loader = DataLoader(TensorDataset(*workload.data()), batch_size=workload.batch)
    loss_fn = workload.loss()

    def train(model: nn.Module, loader: Any, epochs: int) -> dict[str, list[float]]:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        losses = []
        for _ in range(epochs):
            for x, y in loader:
                optimizer.zero_grad()
                loss = loss_fn(model(x), y)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
        return {"loss": losses}

    def work() -> float:
        analyzer = analyzer_of(
            workload.model(),
            n_trajectories=workload.trajectories,
            device="cpu",
            verbose=False,
        )
        analyzer.analyze(train, loader, epochs)
        return 1.0

    return work


def exponent(workload: Workload, horizon: int) -> Work:
    """lyapopt's exponent of one net with its neighbours, separations and intervals included."""
    [training] = workload.trainings()

    def work() -> float:
        step = TrainingMap([training])
        neighbours = workload.trajectories - 1
        found = from_neighbours(
            step, step.initial_state(), horizon, neighbours=neighbours, radius=1e-2
        )
        found.interval(over="neighbours")
        return 1.0

    return work


def _copies(tensor: Tensor, rows: int) -> Tensor:
    return tensor.detach().expand(rows, *tensor.shape).clone().requires_grad_()
