"""A user's training in another precision, on another device."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.utils.data import DataLoader, RandomSampler, SequentialSampler, TensorDataset

from lyapopt.dynamics import Training
from lyapopt.dynamics.data import read_examples
from lyapopt.dynamics.training import Data

_CACHE_SIZE = 16
_cast_data: dict[tuple[int, torch.dtype, str], tuple[tuple[object, ...], Data]] = {}


def cast_training(training: Training, dtype: torch.dtype, device: str) -> Training:
    """The same training with floating-point weights, state and data in `dtype` on `device`.

    Exponents need float64 (float32 does not resolve a radius of 1e-6), and people write their
    models in float32. The model is changed in place, so that its optimiser still belongs to it.
    Data that several trainings share stay shared.
    """
    if not isinstance(training, Training):
        return training  # refused where it is built, with the reason
    training.model.to(device=device, dtype=dtype)
    for state in training.optimizer.state.values():
        for name, value in state.items():
            if isinstance(value, Tensor) and name != "step":
                state[name] = _cast(value, dtype, device)
    validation = training.validation
    return dataclasses.replace(
        training,
        data=_cast_shared(training.data, dtype, device),
        validation=None if validation is None else _cast_shared(validation, dtype, device),
    )


def _cast_shared(data: Data, dtype: torch.dtype, device: str) -> Data:
    """Cast data once for all trainings that are given the very same object or tensors."""
    parts: tuple[object, ...] = tuple(data) if isinstance(data, tuple | list) else (data,)
    key = (hash(tuple(id(part) for part in parts)), dtype, device)
    known = _cast_data.get(key)
    if known is not None and all(a is b for a, b in zip(known[0], parts, strict=True)):
        return known[1]
    cast = _cast_once(data, dtype, device)
    if len(_cast_data) >= _CACHE_SIZE:
        _cast_data.pop(next(iter(_cast_data)))
    _cast_data[key] = (parts, cast)
    return cast


def _cast_once(data: Data, dtype: torch.dtype, device: str) -> Data:
    if isinstance(data, DataLoader) and not isinstance(
        data.sampler, RandomSampler | SequentialSampler
    ):
        return data  # refused when the training is read, with the reason
    tensors = tuple(_cast(tensor, dtype, device) for tensor in read_examples(data).tensors)
    if not isinstance(data, DataLoader):
        return tensors
    return DataLoader(
        TensorDataset(*tensors),
        batch_size=data.batch_size,
        shuffle=isinstance(data.sampler, RandomSampler),
        drop_last=data.drop_last,
    )


def _cast(tensor: Tensor, dtype: torch.dtype, device: str) -> Tensor:
    return tensor.to(device=device, dtype=dtype if tensor.is_floating_point() else None)
