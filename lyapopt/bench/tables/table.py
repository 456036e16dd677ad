"""What was recorded of every configuration of a case, as arrays."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lyapopt.bench import Numbers
from lyapopt.bench.tables.cases import Case

HORIZONS = (5, 10, 20, 40)
FORWARD_COST = 1 / 3


@dataclass(frozen=True)
class Facts:
    """What all configurations of a case have in common.

    Attributes:
        steps: Optimiser steps of a full training.
        steps_per_epoch: Steps that see all of the data once.
        batch_size: Examples of a step.
        validation_examples: Examples of an evaluation.
        weights: Weights of a network.
        optimizer: Name of the optimizer, as steering knows it.
        radius: Separation of neighbours.
        fingerprint: A digest of what the code makes of the first steps.
        seconds: Time that the recording took.
    """

    steps: int
    steps_per_epoch: int
    batch_size: int
    validation_examples: int
    weights: int
    optimizer: str
    radius: float
    fingerprint: str
    seconds: float

    @property
    def evaluation_cost(self) -> float:
        """Gradient evaluations that an evaluation costs: forward passes over all batches."""
        return FORWARD_COST * self.validation_examples / self.batch_size


@dataclass(frozen=True)
class Table:
    """Every configuration of a case, trained to the end and measured.

    There are N configurations on L search lines, see `Case.line_of`.

    Attributes:
        case: What was recorded.
        facts: What configurations have in common.
        losses: Training loss on the batch of every step, before it, `(N, steps)`.
        checkpoints: Steps after which networks were evaluated, `(C,)`; the last is the end.
        validation: Validation losses there, `(N, C)`; NaN where a training has diverged.
        initial: Validation loss before the first step, `(N,)`.
        separations: Log separations in weights of 2 neighbours, `(N, 41, 2)`.
        many: The same of 16 neighbours, `(N, 21, 16)`.
        outputs: Log separations in outputs of the 2 neighbours, `(N, 41, 2)`.
        tangent: Log growth of a tangent in the weights, summed up, `(N, 21)`.
        is_still: Whether nothing moves at each of `HORIZONS`, `(N, 4)`.
        is_finite: Whether the state is finite there, `(N, 4)`.
        gradient_norms: Norm of the gradient after 0, 10 and 20 steps, `(N, 3)`.
        sharpness: Largest curvature there in absolute value, `(N, 3)`.
        range_losses: Losses of a training with a rising rate, `(L, R)`.
        range_rates: The rates of those steps, `(R,)`.
    """

    case: Case
    facts: Facts
    losses: Numbers
    checkpoints: NDArray[np.int64]
    validation: Numbers
    initial: Numbers
    separations: Numbers
    many: Numbers
    outputs: Numbers
    tangent: Numbers
    is_still: NDArray[np.bool_]
    is_finite: NDArray[np.bool_]
    gradient_norms: Numbers
    sharpness: Numbers
    range_losses: Numbers
    range_rates: Numbers

    @property
    def final(self) -> Numbers:
        """Final validation loss, `(N,)`, that of an untrained network where it is no better."""
        untrained = self.untrained
        return np.fmin(np.nan_to_num(self.validation[:, -1], nan=untrained), untrained)

    @property
    def untrained(self) -> float:
        """Validation loss of an untrained network: the median over configurations."""
        return float(np.nanmedian(self.initial))

    def regret(self, loss: float | Numbers) -> Numbers:
        """A loss on a scale from 0, the best of the table, to 1, an untrained network."""
        best, worst = float(self.final.min()), self.untrained
        return np.clip((np.asarray(loss, dtype=np.float64) - best) / (worst - best), 0.0, 1.0)

    def save(self, path: Path) -> None:
        """Write to one file, whole or not at all."""
        arrays = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _PLAIN}
        text = json.dumps({"case": self.case.definition(), "facts": asdict(self.facts)})
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part.npz")
        np.savez_compressed(part, about=np.array(text), **arrays)
        part.replace(path)

    @classmethod
    def load(cls, path: Path, case: Case) -> Table:
        """Read what `save` wrote."""
        with np.load(path) as stored:
            about: Mapping[str, Any] = json.loads(str(stored["about"]))
            arrays = {name: stored[name] for name in stored.files if name != "about"}
        return cls(case=case, facts=Facts(**about["facts"]), **arrays)


_PLAIN = ("case", "facts")
