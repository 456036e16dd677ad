"""Trainings copied into another floating-point precision, to be measured there."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, RandomSampler, TensorDataset

from lyapopt.dynamics import Training
from lyapopt.dynamics.data import read_examples, read_order


def in_dtype(trainings: Sequence[Training], dtype: torch.dtype) -> list[Training]:
    """Copies of trainings that share their data and loss, with all real numbers in `dtype`.

    Slots that the optimisers already hold are converted too; integers (targets, tokens) stay.
    """
    first = trainings[0]
    data, loss_fn = _data(first, dtype), first.loss_fn
    if isinstance(loss_fn, nn.Module):
        loss_fn = copy.deepcopy(loss_fn).to(dtype)
    return [_copy(training, data, loss_fn, dtype) for training in trainings]


def _copy(training: Training, data: Any, loss_fn: Any, dtype: torch.dtype) -> Training:
    shared = {id(part): part for part in (training.data, training.loss_fn)}
    copied = copy.deepcopy(training, shared)
    copied.model.to(dtype)  # in place, so that the optimiser keeps its parameters
    for slots in copied.optimizer.state.values():
        for name, value in slots.items():
            if name != "step" and isinstance(value, Tensor):
                slots[name] = _real(value, dtype)
    return dataclasses.replace(copied, data=data, loss_fn=loss_fn)


def _data(training: Training, dtype: torch.dtype) -> Any:
    examples = read_examples(training.data)
    tensors = tuple(_real(tensor, dtype) for tensor in examples.tensors)
    loader = training.data
    if not isinstance(loader, DataLoader):
        return tensors
    read_order(
        loader, examples, training.batch_size, training.seed
    )  # refuses what cannot be replayed
    return DataLoader(
        TensorDataset(*tensors),
        batch_size=loader.batch_size,
        shuffle=isinstance(loader.sampler, RandomSampler),
        drop_last=loader.drop_last,
    )


def _real(tensor: Tensor, dtype: torch.dtype) -> Tensor:
    return tensor.to(dtype) if tensor.is_floating_point() else tensor
