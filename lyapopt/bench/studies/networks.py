"""Networks as users write them: build functions `params -> Training` of `lyapopt bench studies`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from sklearn.datasets import load_digits, make_friedman1
from torch import Tensor, nn

from lyapopt.dynamics import Training

_ACTIVATIONS = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU}
_STEPS = 300
Data = tuple[Tensor, Tensor]


def readme(params: Mapping[str, Any]) -> Training:
    """`mytask.py` of the README: the largest of three inputs, which a network can tell exactly."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(512, 10, generator=draw)
    y = x[:, :3].argmax(1)
    model = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"], momentum=0.9)
    return Training(model, nn.CrossEntropyLoss(), optimizer, data=(x, y), batch_size=32, steps=300)


def regression(params: Mapping[str, Any]) -> Training:
    """Friedman's function with noise, by two hidden layers in float64 and Adam."""
    data, held_out = _friedman()
    make = _ACTIVATIONS[params["activation"]]
    layers = nn.Linear(10, 32), make(), nn.Linear(32, 32), make(), nn.Linear(32, 1)
    model = nn.Sequential(*layers).double()
    optimizer = torch.optim.Adam(model.parameters(), lr=params["lr"])
    return Training(
        model, nn.MSELoss(), optimizer, data, batch_size=32, steps=_STEPS, validation=held_out
    )


def normed(params: Mapping[str, Any]) -> Training:
    """Handwritten digits, by a convolution with a layer norm, momentum and a cosine schedule."""
    data, held_out = _images()
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.LayerNorm([8, 3, 3]), nn.ReLU(), nn.Flatten(),
        nn.Linear(72, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(
        model.parameters(), lr=params["lr"], momentum=0.9, weight_decay=params["weight_decay"]
    )
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _STEPS)
    return Training(
        model, nn.CrossEntropyLoss(), optimizer, data, batch_size=32, steps=_STEPS,
        scheduler=scheduler, validation=held_out,
    )  # fmt: skip


class LastState(nn.Module):
    """A recurrent network of which the last state is read."""

    def __init__(self, units: int) -> None:
        super().__init__()
        self.cells = nn.RNN(2, units, batch_first=True)
        self.last = nn.Linear(units, 1)

    def forward(self, x: Tensor) -> Tensor:
        """One number a sequence."""
        states, _ = self.cells(x)
        number: Tensor = self.last(states[:, -1])
        return number


def adding(params: Mapping[str, Any]) -> Training:
    """The sum of two marked numbers of a sequence, by a recurrent network in float32.

    Source: S. Hochreiter and J. Schmidhuber, Neural Computation 9 (1997) 1735-1780, section 5.4.
    """
    data, held_out = _sums()
    model = LastState(params["units"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=params["lr"])
    return Training(
        model, nn.MSELoss(), optimizer, data, batch_size=32, steps=_STEPS,
        clip_grad_norm=1.0, validation=held_out,
    )  # fmt: skip


@cache
def _friedman() -> tuple[Data, Data]:
    inputs, targets = make_friedman1(400, noise=1.0, random_state=0)
    x, y = torch.from_numpy(2 * inputs - 1), torch.from_numpy(targets)[:, None]
    return _split(x, (y - y.mean()) / y.std(), 300)


@cache
def _images() -> tuple[Data, Data]:
    digits = load_digits()
    order = torch.randperm(len(digits.target), generator=torch.Generator().manual_seed(0))
    x = torch.from_numpy(digits.images).float().unsqueeze(1)[order] / 8 - 1
    return _split(x, torch.from_numpy(digits.target)[order], 1400)


@cache
def _sums(length: int = 6, count: int = 1280) -> tuple[Data, Data]:
    draw = torch.Generator().manual_seed(0)
    numbers = torch.rand(count, length, generator=draw)
    marked = torch.rand(count, length, generator=draw).topk(2).indices
    marks = torch.zeros(count, length).scatter(1, marked, 1.0)
    sums = (numbers * marks).sum(1, keepdim=True)
    # Sums of two numbers between 0 and 1 have mean 1 and variance 1 / 6.
    return _split(torch.stack([numbers, marks], 2), (sums - 1) * math.sqrt(6), 1024)


def _split(x: Tensor, y: Tensor, count: int) -> tuple[Data, Data]:
    return (x[:count], y[:count]), (x[count:], y[count:])
