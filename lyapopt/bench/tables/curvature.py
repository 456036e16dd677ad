"""Gradient norms and curvature of many networks, from plain gradient steps of rate one.

A step of plain gradient descent at rate 1 is `w - g`, so that a map gives gradients; and gradients
a small step apart give products with the Hessian.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.randomness import generator

ITERATIONS = 8
COST = 1 + ITERATIONS
"""Gradient evaluations of one curvature."""

_SMALL = 1e-4


class Gradients:
    """Gradients of trainings that share a stack, whatever their optimisers.

    Args:
        trainings: Trainings of equal structure.
    """

    def __init__(self, trainings: Sequence[Training]) -> None:
        plain = [
            dataclasses.replace(
                training,
                optimizer=torch.optim.SGD(training.model.parameters(), lr=1.0),
                scheduler=None,
                clip_grad_norm=None,
            )
            for training in trainings
        ]
        self._parts = stack(plain, compile="off")

    def at(self, weights: Tensor, t: int) -> Tensor:
        """Gradients on the batches of step `t` at weights `(M, P)`."""
        found = torch.empty_like(weights)
        for rows, step in self._parts:
            z = step.initial_state()
            size = weights.shape[-1]
            z = torch.cat([weights[rows].unsqueeze(1), z[..., size:]], -1)
            moved, _ = step.step_with_losses(z, t)
            found[rows] = weights[rows] - step.weights(moved)[:, 0]
        return found

    def norm_and_sharpness(self, weights: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """Norm of the gradient and the largest absolute curvature, `(M,)` each.

        Power iteration on differences of gradients (Cohen et al., arXiv:2103.00065, look at the
        largest eigenvalue of the Hessian).
        """
        here = self.at(weights, t)
        scale = _SMALL * torch.linalg.vector_norm(weights, dim=-1, keepdim=True).clamp(min=1e-3)
        draw = torch.randn(weights.shape[-1], generator=generator(0, "curvature")).to(weights)
        direction = (draw / draw.norm()).expand_as(weights)
        curvature = here.new_zeros(len(weights))
        for _ in range(ITERATIONS):
            product = (self.at(weights + scale * direction, t) - here) / scale
            norm: Tensor = torch.linalg.vector_norm(product, dim=-1, keepdim=True)
            curvature = norm[:, 0]
            direction = torch.where(norm > 0, product / norm, direction)
        gradient_norm: Tensor = torch.linalg.vector_norm(here, dim=-1)
        return gradient_norm, curvature
