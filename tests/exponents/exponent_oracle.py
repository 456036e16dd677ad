"""Trainings whose exponents are known in closed form, and the closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap

MakeOptimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


def half_mse(outputs: Tensor, target: Tensor) -> Tensor:
    return 0.5 * (outputs - target).square().mean()


def quadratic(
    curvatures: Sequence[float], optimizer: MakeOptimizer, w0: float = 1.0, seed: int = 1
) -> Training:
    """Loss `w^T H w / 2` in a rotated basis, H with the given curvatures."""
    h = torch.tensor(curvatures, dtype=torch.float64)
    P = len(h)
    source = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(P, P, dtype=torch.float64, generator=source))[0]
    if P == 1:
        basis = torch.ones(1, 1, dtype=torch.float64)
    x = math.sqrt(P) * h.sqrt().unsqueeze(1) * basis.T
    model = nn.Linear(P, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, w0)
    return Training(model, half_mse, optimizer(model.parameters()), (x, x.new_zeros(P, 1)))


def with_frozen_second_moment(make: MakeOptimizer, slot: str, scale: float) -> MakeOptimizer:
    """An optimiser that has run for so long that its second moment `scale^2` no longer moves."""

    def made(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        optimizer = make(parameters)
        for group in optimizer.param_groups:
            for p in group["params"]:
                state = optimizer.state[p]
                state["step"] = torch.tensor(1e17, dtype=torch.float64)
                state[slot] = torch.full_like(p, scale**2)
                if slot == "exp_avg_sq":
                    state["exp_avg"] = torch.zeros_like(p)
                if group.get("momentum"):
                    state["momentum_buffer"] = torch.zeros_like(p)
        return optimizer

    return made


def moduli(matrix: Sequence[Sequence[float]]) -> list[float]:
    """Logarithms of the moduli of the eigenvalues, descending."""
    return sorted(np.log(np.abs(np.linalg.eigvals(np.array(matrix)))).tolist(), reverse=True)


def sgd_matrix(
    h: float,
    lr: float,
    momentum: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> list[list[float]]:
    """One step of torch's SGD on `h w^2 / 2` as a matrix on (w, buffer)."""
    g, share = h + weight_decay, 1 - dampening
    buffer = [share * g, momentum]
    step = [g + momentum * buffer[0], momentum * momentum] if nesterov else buffer
    return [[1 - lr * step[0], -lr * step[1]], buffer]


def mlp(
    sizes: Sequence[int],
    optimizer: MakeOptimizer,
    *,
    examples: int = 24,
    batch_size: int | None = None,
    seed: int = 0,
    layer: Callable[[], nn.Module] = nn.Tanh,
    **options: object,
) -> Training:
    """A small network on random data."""
    source = torch.Generator().manual_seed(seed)
    layers: list[nn.Module] = []
    for wide, narrow in pairwise(sizes):
        linear = nn.Linear(wide, narrow, dtype=torch.float64)
        for p in linear.parameters():
            p.data = torch.randn(p.shape, dtype=torch.float64, generator=source) / wide**0.5
        layers += [linear, layer()]
    model = nn.Sequential(*layers[:-1])
    x = torch.randn(examples, sizes[0], dtype=torch.float64, generator=source)
    y = torch.randn(examples, sizes[-1], dtype=torch.float64, generator=source)
    return Training(
        model,
        half_mse,
        optimizer(model.parameters()),
        (x, y),
        batch_size=batch_size,
        seed=seed,
        **options,  # type: ignore[arg-type]
    )


def jacobian(step: TrainingMap, z: Tensor, t: int) -> Tensor:
    """The whole Jacobian at a state `(1, 1, D)`, by torch's reverse mode on the loss: `(D, D)`."""
    step(z, t)  # draws the order of the batches, which vmap would refuse
    columns = torch.func.jacfwd(lambda v: step(v.view(1, 1, -1), t).reshape(-1))(z.reshape(-1))
    assert isinstance(columns, Tensor)
    return columns
