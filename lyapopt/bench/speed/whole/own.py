"""A module of a user's own as lyapopt is given it: what `plain` trains, in a function `build`."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import nn

from lyapopt.bench.speed.whole.plain import Residual, Search, digits
from lyapopt.dynamics import Training


@cache
def _data() -> Search:
    return digits(steps=300, batch=64)


def build(params: Mapping[str, Any]) -> Training:
    """The training of a trial."""
    search = _data()
    model = Residual(32, 2)
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=params["lr"], weight_decay=params["weight_decay"]
    )
    return Training(
        model,
        nn.CrossEntropyLoss(),
        optimizer,
        data=search.data,
        batch_size=search.batch,
        steps=search.steps,
        validation=search.held_out,
    )
