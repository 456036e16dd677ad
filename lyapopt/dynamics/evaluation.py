"""What models achieve on the validation data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from lyapopt.dynamics.data import Examples
from lyapopt.dynamics.training import Training


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


def evaluate(parts: Iterable[tuple[nn.Module, Training, Examples]]) -> Evaluation:
    """Loss and metric of models in evaluation mode, each with its training and its data."""
    losses, metrics, count = [], [], 0
    for model, training, examples in parts:
        *inputs, target = examples.tensors
        count = examples.count
        with torch.no_grad():
            outputs = model.eval()(*inputs)
            losses.append(float(training.loss_fn(outputs, target)))
            if training.metric is not None:
                metrics.append(float(training.metric(outputs, target)))
    return Evaluation(losses, metrics or None, count)
