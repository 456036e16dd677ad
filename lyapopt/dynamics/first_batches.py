"""The first batches of someone else's data, read without leaving a trace in them."""

from __future__ import annotations

import io
import pickle
import types
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate

from lyapopt.dynamics.data import (
    BatchOrder,
    Examples,
    check_type,
    collated,
    loader_order,
    map_style_length,
    read_examples,
)
from lyapopt.errors import TrainingError


def read_first_batches(
    data: Any, steps: int, batch_size: int | None = None, seed: int = 0
) -> tuple[Examples, int]:
    """The examples of as many full batches as there are steps, and the size of a batch.

    No other example is read, so that large data cost no more than the steps do. A data set is read
    through a copy that shares its arrays: generators and counters of its own stay where they are. A
    last batch that is smaller is left out.

    Args:
        data: A `DataLoader`, a map-style `Dataset` or a tuple of tensors.
        steps: Batches that are wanted; fewer, where an epoch has no more.
        batch_size: Examples a batch, where `data` is no loader; `None` is the full batch.
        seed: Seed of the order, where that is shuffled.

    Raises:
        TrainingError: If `data` are no such thing, or a loader draws in an order of its own.

    Example:
        >>> x = torch.arange(10.0).unsqueeze(1)
        >>> loader = DataLoader(TensorDataset(x, x), batch_size=3)
        >>> examples, size = read_first_batches(loader, steps=2)
        >>> examples.tensors[0].flatten().tolist(), size
        ([0.0, 1.0, 2.0, 3.0, 4.0, 5.0], 3)
    """
    check_type(data, "data")
    if not isinstance(data, DataLoader | Dataset):
        data = TensorDataset(*read_examples(data).tensors)
    is_loader = isinstance(data, DataLoader)
    dataset, collate = (data.dataset, data.collate_fn) if is_loader else (data, default_collate)
    count = map_style_length(dataset, "data")
    if is_loader:
        size, is_shuffled = loader_order(data, count, batch_size)
    else:
        size, is_shuffled = min(batch_size or count, count), True
    order = BatchOrder(count, size, seed, is_shuffled)
    indices = order.epoch(0)[:steps].flatten()
    if type(dataset) is TensorDataset and collate is default_collate:
        return read_examples(tuple(tensor[indices] for tensor in dataset.tensors)), size
    dataset, collate = _copy((dataset, collate))
    return collated(dataset, collate, "data", indices.tolist()), size


def first_batches(loader: DataLoader[Any], count: int, seed: int = 0) -> list[Any]:
    """As many full batches of a loader, of any type, read in the same way.

    Where an epoch has fewer they come again.

    Raises:
        TrainingError: If the loader draws in an order of its own.
    """
    examples = map_style_length(loader.dataset, "data")
    size, is_shuffled = loader_order(loader, examples)
    order = BatchOrder(examples, size, seed, is_shuffled)
    dataset, collate = _copy((loader.dataset, loader.collate_fn))
    rows = order.epoch(0)[:count].tolist()
    batches = [collate([dataset[index] for index in row]) for row in rows]
    return [batches[k % len(batches)] for k in range(count)]


_SHARED = (
    Tensor,
    np.ndarray,
    torch.nn.Module,
    type,
    types.FunctionType,
    types.BuiltinFunctionType,
    types.ModuleType,
)
"""What a copy has in common with its original: large, or without a state that reading changes."""


class _Pickler(pickle.Pickler):
    """Pickles references to what is shared."""

    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._shared = shared

    def persistent_id(self, obj: object) -> int | None:
        if not isinstance(obj, _SHARED):
            return None
        self._shared.append(obj)
        return len(self._shared) - 1


class _Unpickler(pickle.Unpickler):
    """Puts what is shared back in its place."""

    def __init__(self, file: io.BytesIO, shared: list[object]) -> None:
        super().__init__(file)
        self._shared = shared

    def persistent_load(self, pid: Any) -> object:
        return self._shared[pid]


def _copy(parts: tuple[Any, Any]) -> tuple[Any, Any]:
    """A copy of a data set and its collate function, with the same arrays.

    Not `copy.deepcopy`, which would double data that are kept in memory.
    """
    shared: list[object] = []
    file = io.BytesIO()
    try:
        _Pickler(file, shared).dump(parts)
        file.seek(0)
        copied: tuple[Any, Any] = _Unpickler(file, shared).load()
    except Exception as error:
        raise TrainingError(
            f"Training: data cannot be copied ({type(error).__name__}: {error}), and reading them "
            "could change what they draw next; give a Dataset that can be pickled, or tensors"
        ) from error
    return copied
