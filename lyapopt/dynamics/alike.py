"""Trainings that differ in numbers only: what one of them does on its first batch, all do.

Running a model once, forward and backward, is most of what reading it takes, and a group of trials
is often one network with other rates and other initial weights.
"""

from __future__ import annotations

from collections.abc import Hashable

from lyapopt.dynamics.checked import is_of_torch
from lyapopt.dynamics.data import BatchOrder, Examples
from lyapopt.dynamics.structure import loss_structure, module_structure
from lyapopt.dynamics.trace import is_pure
from lyapopt.dynamics.training import Training


def form_of(training: Training, examples: Examples, order: BatchOrder) -> Hashable | None:
    """What a training is but for weights, hyperparameters, schedule and seed.

    Args:
        training: Any.
        examples: Its data.
        order: The order of its batches.

    Returns:
        Equal for two trainings whose losses have one graph and see the same batch; `None` where
        only running the model tells: it has code of its own, hooks or buffers. It holds addresses
        of the data, so that it is to be compared only while these are alive.
    """
    model = training.model
    if not is_of_torch(training) or not is_pure(model):
        return None
    names = {parameter: name for name, parameter in model.named_parameters()}
    return (
        module_structure(model),
        loss_structure(training.loss_fn),
        tuple((type(each), each.requires_grad, each.device) for each in names),
        tuple(
            tuple(names.get(parameter) for parameter in group["params"])
            for group in training.optimizer.param_groups
        ),
        tuple((id(tensor), tensor._version) for tensor in examples.tensors),
        order.size,
    )
