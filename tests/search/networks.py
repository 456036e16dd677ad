"""Small networks that the tests of the search train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from lyapopt.dynamics import Training


@dataclass
class Quadratic:
    """Gradient descent on h w^2 / 2: its exponent is ln |1 - lr h|, its edge is lr = 2 / h.

    `seen` holds the parameters of every training that was built. Any numbers may be among them:
    the learning rate is the size of parameter `rate`.
    """

    rate: str = "lr"
    curvature: float = 10.0
    steps: int = 30
    seen: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, params: Mapping[str, Any]) -> Training:
        self.seen.append(dict(params))
        model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
        nn.init.ones_(model.weight)
        lr = abs(float(params.get(self.rate, 0.1)))
        x = torch.full((1, 1), (self.curvature / 2) ** 0.5, dtype=torch.float64)
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        return Training(model, nn.MSELoss(), optimizer, (x, 0 * x), steps=self.steps)


def tanh_network(params: Mapping[str, Any]) -> Training:
    """A small network on a fixed regression, without a seed of its own."""
    x = torch.linspace(-1, 1, 16, dtype=torch.float64).unsqueeze(1)
    width = int(params.get("width", 8))
    model = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, 1)).double()
    name = params.get("optimizer", "sgd")
    if name == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    else:
        optimizer = torch.optim.Adam(model.parameters(), lr=params["lr"])
    return Training(model, nn.MSELoss(), optimizer, (x, (3 * x).sin()), steps=60)
