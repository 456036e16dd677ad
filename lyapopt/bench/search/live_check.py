"""A few configurations really trained: whether the table is right, and what snapping hides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch

from lyapopt.bench.tables.cases import build_cell
from lyapopt.bench.tables.measures import exponents
from lyapopt.bench.tables.table import Table
from lyapopt.dynamics import Training, stack
from lyapopt.dynamics.precision import precision_of
from lyapopt.dynamics.randomness import derive_seed

_EPS = torch.finfo(torch.float64).eps
_RESOLVED = 1e-6  # relative, in float64; other precisions in proportion to their rounding errors
_LEAST = 1e-2


def live_check(table: Table, cells: int = 4, seed: int = 0) -> pd.DataFrame:
    """Train configurations by themselves, at the rate of the grid and at one that is snapped to it.

    Columns: `case`, `cell`, `lr`; `recorded` and `trained`, final validation losses (those of an
    untrained network where a training diverged); `error`, their relative difference; `off_lr`, a
    random rate that is snapped to `lr`, `off_trained` and `snapping`, by how much its regret is
    above the recorded one.

    Args:
        table: The table of a case whose networks can be built.
        cells: How many configurations are trained.
        seed: What their choice follows from.
    """
    rng = np.random.default_rng(derive_seed(seed, "live check", table.case.name))
    chosen = rng.choice(_trainable(table), size=cells, replace=False)
    rates = np.log(table.case.rates)
    half = 0.5 * (rates[1] - rates[0])
    low, high = table.case.rates[0], table.case.rates[-1]
    rows = []
    for cell in chosen.tolist():
        params = table.case.cells[cell]
        off = float(np.clip(params["lr"] * np.exp(rng.uniform(-half, half)), low, high))
        training = build_cell(table.case, params)
        rounding = torch.finfo(precision_of(training)).eps / _EPS
        own = _train(table, training)
        other = _train(table, build_cell(table.case, {**params, "lr": off}))
        recorded = float(table.final[cell])
        rows.append(
            {
                "case": table.case.name,
                "cell": cell,
                "lr": params["lr"],
                "recorded": recorded,
                "trained": own,
                "error": abs(own - recorded) / recorded,
                "resolved": min(_RESOLVED * rounding, _LEAST),
                "off_lr": off,
                "off_trained": other,
                "snapping": float(table.regret(other)) - float(table.regret(recorded)),
            }
        )
    return pd.DataFrame(rows)


def agrees(checked: pd.DataFrame) -> bool:
    """Whether all trainings ended where the table says, to rounding."""
    return bool((checked["error"] <= checked["resolved"]).all())


def _trainable(table: Table) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Configurations in which rounding errors do not grow: the others repeat only roughly."""
    values = exponents(table, "weights", 1, 20)
    calm = np.flatnonzero((values < 1e-3) & np.isfinite(table.validation[:, -1]))
    return calm if len(calm) >= 4 else np.arange(len(table.final))


def _train(table: Table, training: Training) -> float:
    """Final validation loss of a training by itself."""
    [(_, step)] = stack([training], compile="off")
    z = step.initial_state()
    for t in range(training.steps or 0):
        z, _ = step.step_with_losses(z, t)
    if not bool(np.isfinite(z.cpu().numpy()).all()):
        return table.untrained
    loss = step.evaluate(z).losses[0]
    return min(loss, table.untrained) if np.isfinite(loss) else table.untrained
