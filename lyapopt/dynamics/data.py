"""Data as tensors, and the order in which batches are drawn from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from lyapopt.dynamics.randomness import derive_seed, hashed_uniform
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.errors import TrainingError


@dataclass(frozen=True)
class Examples:
    """All examples of a data set as tensors with the example on the first axis.

    Attributes:
        tensors: The inputs in the order of the model's arguments, and the target last.
    """

    tensors: tuple[Tensor, ...]

    @property
    def count(self) -> int:
        """How many examples there are."""
        return len(self.tensors[0])

    def same_as(self, other: Examples) -> bool:
        """Whether both hold the same numbers (so that one copy serves both)."""
        if len(self.tensors) != len(other.tensors):
            return False
        pairs = zip(self.tensors, other.tensors, strict=True)
        return all(a is b or _same_memory(a, b) or torch.equal(a, b) for a, b in pairs)

    def first_with_nan(self) -> int | None:
        """The first example that holds a NaN."""
        for tensor in self.tensors:
            if tensor.is_floating_point() and tensor.sum().isnan():  # one pass, no copy
                found = tensor.isnan().reshape(self.count, -1).any(1).nonzero()
                if len(found):
                    return int(found[0])
        return None


@dataclass(frozen=True)
class BatchOrder:
    """Which examples are in the batch of step `t`: a pure function of the seed and `t`.

    Attributes:
        count: Number of examples.
        size: Examples per batch; the rest of an epoch that does not fill a batch is left out.
        seed: Seed of the shuffles.
        shuffle: Whether each epoch has an order of its own.
    """

    count: int
    size: int
    seed: int
    shuffle: bool = True

    @property
    def is_full_batch(self) -> bool:
        """Whether every step sees all examples (then nothing is drawn or copied)."""
        return self.size == self.count

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every example is seen once, but for a rest smaller than a batch."""
        return self.count // self.size

    def epoch(self, epoch: int) -> Int[Tensor, "steps batch"]:
        """Indices of the batches of one epoch."""
        if self.shuffle:
            # Not torch.randperm: random calls are refused under vmap, where tangents are pushed.
            key = torch.tensor(derive_seed(self.seed, epoch, "batch order"))
            indices = hashed_uniform(key, torch.Size([self.count])).argsort(stable=True)
        else:
            indices = torch.arange(self.count)
        used = self.steps_per_epoch * self.size
        return indices[:used].view(self.steps_per_epoch, self.size)


def check_type(data: object, what: str) -> None:
    """Refuse what no examples can be read from; nothing is read.

    Raises:
        TrainingError: If it is neither tensors, nor a data set, nor a loader.
    """
    is_tensors = isinstance(data, tuple | list) and all(isinstance(d, Tensor) for d in data)
    if not (is_tensors or isinstance(data, Dataset | DataLoader)):
        given = ", ".join(type(d).__name__ for d in data) if isinstance(data, tuple | list) else ""
        raise TrainingError(
            f"Training: {what} must be (inputs, target) tensors, a Dataset or a DataLoader, "
            f"not {f'a {type(data).__name__} of {given}' if given else type(data).__name__}"
        )


def read_examples(data: Any, what: str = "data") -> Examples:
    """The tensors behind `data`.

    Args:
        data: A tuple of tensors, a map-style `Dataset` or a `DataLoader`.
        what: Name used in messages.

    Raises:
        TrainingError: If the data are of another type, empty, or of unequal lengths.

    Note:
        A `Dataset` is read once, example by example; random augmentation in it is frozen, because
        all trajectories of a system must see the same batch.
    """
    if isinstance(data, DataLoader):
        return collated(data.dataset, data.collate_fn, what)
    if isinstance(data, TensorDataset):
        return _checked(data.tensors, what)
    if isinstance(data, Dataset):
        return collated(data, default_collate, what)
    check_type(data, what)
    return _checked(tuple(data), what)


def read_order(data: Any, examples: Examples, batch_size: int | None, seed: int) -> BatchOrder:
    """The order of batches of `data`, with a `DataLoader`'s own settings taken over."""
    if not isinstance(data, DataLoader):
        size = examples.count if batch_size is None else min(batch_size, examples.count)
        return BatchOrder(examples.count, size, seed)
    size, is_shuffled = loader_order(data, examples.count, batch_size)
    if not data.drop_last and examples.count % size:
        raise TrainingError(
            f"Training: {examples.count} examples do not divide into batches of {size}, and the "
            "steps of a map have batches of one size; use DataLoader(..., drop_last=True)"
        )
    return BatchOrder(examples.count, size, seed, is_shuffled)


def loader_order(
    loader: DataLoader[Any], count: int, batch_size: int | None = None
) -> tuple[int, bool]:
    """Examples a batch of a loader, and whether it shuffles them.

    Args:
        loader: The loader.
        count: How many examples its data set has.
        batch_size: What was asked for beside it.

    Raises:
        TrainingError: If its order is another than a plain one or a shuffle.
    """
    sampler = loader.sampler
    if loader.batch_size is None or not isinstance(sampler, RandomSampler | SequentialSampler):
        raise TrainingError(
            "Training: a DataLoader with a sampler or batch_sampler of its own cannot be replayed "
            "for neighbours; give the tensors or the Dataset and batch_size instead"
        )
    if batch_size is not None and batch_size != loader.batch_size:
        raise TrainingError(
            f"Training: batch_size={batch_size}, but the DataLoader has {loader.batch_size}; "
            "give one of them"
        )
    if isinstance(sampler, RandomSampler) and (sampler.replacement or sampler.num_samples != count):
        raise TrainingError(
            "Training: a DataLoader that draws with replacement or a part of the examples cannot "
            "be replayed for neighbours; give the tensors or the Dataset and batch_size instead"
        )
    if loader.drop_last and loader.batch_size > count:
        raise TrainingError(
            f"Training: batches of {loader.batch_size} from {count} examples with "
            "drop_last=True leave no batch at all; make batch_size smaller"
        )
    return min(loader.batch_size, count), isinstance(sampler, RandomSampler)


def map_style_length(dataset: Dataset[Any], what: str) -> int:
    """How many examples a data set has.

    Raises:
        TrainingError: If it has none, or they cannot be drawn again.
    """
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise TrainingError(
            f"Training: {what} is an IterableDataset, which has no examples to draw again; "
            "give tensors or a map-style Dataset"
        )
    count = len(dataset)
    if count == 0:
        raise TrainingError(f"Training: {what} is empty")
    return count


def collated(
    dataset: Dataset[Any], collate: Any, what: str, indices: Sequence[int] | None = None
) -> Examples:
    """The examples of a data set, or some of them, as one batch.

    Raises:
        TrainingError: If they cannot be read, or do not make a batch.
    """
    count = map_style_length(dataset, what)
    try:
        # Random augmentation is the same whoever reads, and nobody's generator moves.
        reading = (type(dataset).__getitem__, *vars(dataset).values(), collate)
        with Surroundings(None, *reading).kept(derive_seed("examples"), is_first=True):
            batch = collate([dataset[index] for index in indices or range(count)])
    except Exception as error:
        raise TrainingError(
            f"Training: reading {what} raised {type(error).__name__}: {error}; its examples must "
            "be (inputs, target) of one shape"
        ) from error
    if not isinstance(batch, tuple | list):
        raise TrainingError(
            f"Training: an example of {what} must be (inputs, target), not {type(batch).__name__}"
        )
    return _checked(tuple(batch), what)


def _checked(tensors: tuple[Any, ...], what: str) -> Examples:
    if len(tensors) < 2 or not all(isinstance(tensor, Tensor) for tensor in tensors):
        raise TrainingError(f"Training: {what} must be at least two tensors, (inputs, target)")
    if any(tensor.layout != torch.strided or tensor.is_nested for tensor in tensors):
        raise TrainingError(
            f"Training: {what} holds a sparse or nested tensor, of which no batch can be taken; "
            "give dense ones (to_dense(), or torch.nested.to_padded_tensor)"
        )
    lengths = {len(tensor) if tensor.dim() else 0 for tensor in tensors}
    if len(lengths) > 1:
        raise TrainingError(
            f"Training: the tensors of {what} have different lengths {sorted(lengths)}"
        )
    if lengths == {0}:
        raise TrainingError(f"Training: {what} is empty")
    if any(tensor.requires_grad for tensor in tensors):
        raise TrainingError(f"Training: {what} requires gradients; give {what}.detach()")
    return Examples(tensors)


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return (
        a.data_ptr() == b.data_ptr()
        and a.shape == b.shape
        and a.stride() == b.stride()
        and a.dtype == b.dtype
        and a.device == b.device
    )
