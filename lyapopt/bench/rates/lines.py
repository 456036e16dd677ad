"""Search lines trained in full at all rates of a grid, and at those that finders choose."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch

from lyapopt.bench import Progress, silent
from lyapopt.bench.rates.finders import FINDERS, Line
from lyapopt.bench.tables.cases import Case, build_cell
from lyapopt.dynamics import Training, stack
from lyapopt.errors import UserError


def compare_finders(
    cases: Sequence[Case], seeds: int | None = None, progress: Progress = silent
) -> pd.DataFrame:
    """One row a search line and finder: `case`, `line`, `method`, `rate`, `loss`, `regret`, `cost`.

    `loss` is the final validation loss, `regret` its place within the line: 0 is the best of the
    grid, 1 an untrained network. `cost` is in gradient evaluations.

    Args:
        cases: What is trained.
        seeds: How many of a case's initialisations; all by default.
        progress: Called with every line that is done.
    """
    torch.set_num_threads(1)
    found = []
    for case in cases:
        chosen = case.axes["init_seed"][:seeds]
        lines = [c for c in case.cells[:: len(case.rates)] if c["init_seed"] in chosen]
        for params in lines:
            rows = pd.DataFrame(_one_line(case, params))
            name = ", ".join(f"{k}={v}" for k, v in params.items() if k != "lr")
            found.append(rows.assign(case=case.name, line=name))
            progress(f"{case.name}: {name}")
    return pd.concat(found, ignore_index=True)


def _one_line(case: Case, params: Mapping[str, Any]) -> list[dict[str, Any]]:
    def make(rate: float) -> Training:
        return build_cell(case, {**params, "lr": rate})

    steps = make(case.rates[0]).steps
    if steps is None:
        raise UserError(
            f"{case.task}: a Training says no number of steps; write Training(..., steps=400)"
        )
    line = Line(make, case.rates, steps)
    choices = {name: find(line) for name, find in FINDERS.items()}
    chosen = [rate for rate, _ in choices.values()]
    untrained, losses = final_losses([make(rate) for rate in (*case.rates, *chosen)], steps)
    best = min(losses[: len(case.rates)])
    if not best < untrained:
        raise UserError(f"{case.name}: no rate ends below the loss of an untrained network")
    return [
        {"method": name, "rate": rate, "loss": loss, "cost": cost,
         "regret": min(1.0, (loss - best) / (untrained - best))}
        for (name, (rate, cost)), loss in zip(
            choices.items(), losses[len(case.rates) :], strict=True
        )
    ]  # fmt: skip


def final_losses(trainings: Sequence[Training], steps: int) -> tuple[float, list[float]]:
    """Validation loss of the first network untrained, and of all after their steps.

    What has diverged counts as infinite.
    """
    found, untrained = [math.inf] * len(trainings), math.nan
    for rows, step in stack(trainings, compile="off"):
        z = step.initial_state()
        if 0 in rows:
            untrained = step.evaluate(z, [rows.index(0)]).losses[0]
        for t in range(steps):
            z, _ = step.step_with_losses(z, t)
        alive = torch.isfinite(z).all(-1)[:, 0].nonzero()[:, 0].tolist()
        if alive:
            losses = step.evaluate(z, alive).losses
            for place, loss in zip(alive, losses, strict=True):
                found[rows[place]] = loss if np.isfinite(loss) else math.inf
    return untrained, found
