"""What copies of a model have shown, as a probe returns it."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lyapopt.probe import Measurement, Probe
from lyapopt.probe.settled import settled_of, unmeasured
from lyapopt.probe.standstill import stand_still
from lyapopt.probe.verdicts import relative_fall


def measured(
    *,
    log_growth: NDArray[np.float64],
    mean_growth: NDArray[np.float64],
    losses: NDArray[np.float64],
    tail_weights: Tensor | None,
    final_weights: Tensor,
    probe: Probe,
    is_maximized: bool,
    gradients: int,
    examples: int,
) -> Measurement:
    """The measurement of one model.

    Args:
        log_growth: Of every neighbour in every step, `(steps, K)`; NaN in those that are left out.
        mean_growth: Over neighbours that are apart, `(steps,)`.
        losses: Of all copies at every step, `(steps, 1 + K)`, the one that was not perturbed first.
        tail_weights: Its weights a quarter of the horizon before the end; `None` if that was not
            reached.
        final_weights: Its weights at the end.
        probe: How it was measured; for fewer steps where the copies left the numbers.
        is_maximized: Whether the loss is made larger.
        gradients, examples: What it has cost.
    """
    rule = probe.rule
    log = np.vstack([np.zeros(log_growth.shape[1]), np.nancumsum(log_growth, axis=0)])
    log[1:][np.isnan(log_growth)] = math.nan
    log += math.log(probe.radius)
    finite = np.isfinite(mean_growth)
    known = settled_of(log, probe.settle, probe.level) if finite.any() else unmeasured(math.nan)
    if mean_growth[-1] == -math.inf:
        known = unmeasured(-math.inf)  # separations may leave the weights for a step and come back
    own = losses[:, 0]
    fall = relative_fall(-own if is_maximized else own)
    is_still = False
    if tail_weights is not None and len(losses) == probe.horizon and finite.all():
        [is_still] = stand_still(
            torch.as_tensor(log)[:, None],
            torch.as_tensor(losses)[:, None],
            tail_weights[None].cpu(),
            final_weights[None].cpu(),
            probe.radius,
        )
    is_finite = bool(torch.isfinite(final_weights).all())
    return Measurement(
        exponent=known.value,
        low=known.low,
        high=known.high,
        level=probe.level,
        estimand=known.estimand,
        verdict=rule.judge(
            known.value, known.low, known.high, own, is_finite=is_finite, stands_still=is_still
        ),
        flags=(),
        losses=own,
        log_separations=log,
        gradient_evaluations=gradients,
        examples=examples,
        loss_fall=fall,
        slow=rule.is_slow(fall),
    )
