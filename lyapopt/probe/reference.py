"""How a network is measured: in float64 where it can be, else by tangents, else not at all.

One place decides for every entry point. Neighbours need float64: float32 does not resolve the
radius of 1e-6 at which they are still linear, and a larger one is wrong by more than it measures.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lyapopt.dynamics import Training
from lyapopt.dynamics.precision import float64_twin, not_measurable, precision_of
from lyapopt.dynamics.stack import maps_of, read_system
from lyapopt.errors import PrecisionError, UserError
from lyapopt.exponents import from_tangents
from lyapopt.settings import Estimator, ProbeSettings


@dataclass(frozen=True)
class Reference:
    """What a probe trains over its horizon for one training.

    Attributes:
        training: The training itself, or a twin of it in float64: the same weights, batches and
            masks.
        estimator: `neighbours` or `tangent`.
        is_own: Whether it is the training itself: then its first steps are the probe, and only
            neighbours cost extra. A twin costs `horizon` gradient evaluations more.
    """

    training: Training
    estimator: Estimator
    is_own: bool

    def __str__(self) -> str:
        dtype = str(precision_of(self.training)).removeprefix("torch.")
        how = "tangents" if self.estimator == "tangent" else "neighbours"
        return f"{how} in {dtype}"


def reference_of(training: Training, probe: ProbeSettings) -> Reference:
    """Decide how a training is measured; it is left as it is.

    Args:
        training: Of any precision.
        probe: Its `estimator` may decide. `auto` takes neighbours in float64, and tangents (which
            have no radius) in the training's own precision where a part of it does not run in
            float64.

    Raises:
        PrecisionError: If it can be measured in neither way; the message says why.
        TrainingError: If it cannot be trained as given.

    Example:
        >>> from torch import nn
        >>> model, x = nn.Linear(2, 1), torch.eye(2)
        >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> training = Training(model, nn.MSELoss(), sgd, (x, x[:, :1]))
        >>> reference = reference_of(training, ProbeSettings())
        >>> str(reference), reference.is_own
        ('neighbours in float64', False)
    """
    dtype = precision_of(training)
    wanted: Estimator = "tangent" if probe.estimator == "tangent" else "neighbours"
    if dtype == torch.float64 or (wanted == "tangent" and dtype == torch.float32):
        return Reference(training, wanted, is_own=True)
    try:
        return Reference(float64_twin(training), wanted, is_own=False)
    except PrecisionError as refusal:
        reason = _why_no_tangents(training, dtype, probe)
        if reason is None:
            return Reference(training, "tangent", is_own=True)
        raise not_measurable(refusal, dtype, reason) from refusal


def _why_no_tangents(training: Training, dtype: torch.dtype, probe: ProbeSettings) -> str | None:
    if probe.estimator == "neighbours":
        return "the probe's estimator is neighbours"
    if probe.distance != "weights":
        return "they measure in the weights, and the probe's distance is outputs"
    if dtype != torch.float32:
        return "they need float32 at least"
    [(_, step)] = maps_of([read_system(training)])  # what it raises is the network's own trouble
    try:
        from_tangents(step, step.initial_state(), horizon=1)
    except UserError as error:
        return str(error)
    return None
