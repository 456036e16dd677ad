"""A case of a few seconds, and tables made by hand."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from lyapopt.bench.tables.cases import Case, spaced
from lyapopt.bench.tables.table import HORIZONS, Facts, Table
from lyapopt.dynamics import Training
from lyapopt.dynamics.randomness import generator

STEPS = 48


def build(params: Mapping[str, Any]) -> Training:
    """A small regression, whose rates from 0.001 to 10 go from too slow to blown up."""
    x = torch.randn(96, 4, dtype=torch.float64, generator=generator(0, "x"))
    y = torch.sin(x.sum(1, keepdim=True))
    torch.manual_seed(params["init_seed"])
    hidden = {"tanh": nn.Tanh, "relu": nn.ReLU}[params.get("activation", "tanh")]
    model = nn.Sequential(nn.Linear(4, 8), hidden(), nn.Linear(8, 1)).double()
    return Training(
        model,
        nn.MSELoss(),
        torch.optim.SGD(model.parameters(), lr=params["lr"]),
        (x[:64], y[:64]),
        batch_size=16,
        steps=STEPS,
        validation=(x[64:], y[64:]),
    )


def small_case() -> Case:
    axes = {
        "activation": ("tanh", "relu"),
        "init_seed": (0, 1),
        "lr": spaced(1e-3, 10.0, 9),
    }
    return Case("small/sgd", "tests", {}, axes, build=build)


def made_table(seed: int = 0, steps: int = 400) -> Table:
    """A table whose exponents turn positive where rates become too large, by construction.

    The best rate of every line lies one below the first positive exponent.
    """
    rng = np.random.default_rng(seed)
    axes = {
        "activation": ("a", "b", "c", "d", "e"),
        "init_seed": (0, 1, 2),
        "lr": spaced(1e-4, 10.0, 21),
    }
    case = Case("made", "tests", {}, axes)
    rates, lines = 21, 15
    edge = rng.integers(8, 17, size=lines)
    offset = rng.uniform(0, 0.1, size=lines)
    place = np.arange(rates)[None, :]
    distance = edge[:, None] - place
    too_hot = distance <= 0
    final = np.where(too_hot, np.nan, offset[:, None] + 0.03 * np.maximum(distance - 1, 0) ** 1.5)
    final = np.minimum(final, 1.0).ravel()
    growth = np.where(too_hot, 0.5, 0.004 * 10.0 ** (-(distance - 1) / 3)).ravel()
    count = lines * rates
    checkpoints = np.array([5, 10, 20, 22, 40, 44, 80, 100, 150, 200, 250, 300, 350, steps])
    share = (checkpoints / steps)[None, :]
    start = np.nan_to_num(final, nan=1.5)[:, None]
    validation = 1.0 + (start - 1.0) * share**0.5 + rng.normal(0, 0.02, (count, 14))
    validation[:, -1] = final
    losses = 1.0 + (start - 1.0) * (np.arange(steps) / steps)[None, :] ** 0.5
    time = np.arange(41)
    separations = growth[:, None, None] * time[None, :, None] + np.zeros((1, 1, 2))
    return Table(
        case,
        Facts(steps, 22, 64, 64, 100, "SGD", 1e-6, "", 0.0),
        losses=losses,
        checkpoints=checkpoints,
        validation=validation,
        initial=np.ones(count),
        separations=separations,
        many=np.repeat(separations[:, :21, :1], 16, axis=2),
        outputs=separations,
        tangent=separations[:, :21, 0],
        is_still=np.zeros((count, len(HORIZONS)), dtype=bool),
        is_finite=np.ones((count, len(HORIZONS)), dtype=bool),
        gradient_norms=np.ones((count, 3)),
        sharpness=np.ones((count, 3)),
        range_losses=np.ones((lines, 100)),
        range_rates=np.array(spaced(1e-4, 10.0, 100)),
    )
