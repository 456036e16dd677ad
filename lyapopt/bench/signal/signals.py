"""Everything that can be known of a configuration early on, and what each costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from lyapopt.bench import Numbers
from lyapopt.bench.tables.curvature import COST as CURVATURE_COST
from lyapopt.bench.tables.measures import cost_of, exponents, settled_exponents
from lyapopt.bench.tables.recording import GRADIENT_STEPS, MANY, MANY_HORIZON
from lyapopt.bench.tables.table import HORIZONS, Table
from lyapopt.dynamics.randomness import derive_seed

_LOSS_STEPS = (5, 10, 20, 40, 80)


@dataclass(frozen=True)
class Signal:
    """One number of every configuration.

    Attributes:
        name: What it is; signals of one name differ in their steps.
        steps: How many steps of the reference it takes.
        cost: Gradient evaluations for one configuration.
        values: `(N,)`, NaN where there is none.
    """

    name: str
    steps: int
    cost: float
    values: Numbers


def signals(table: Table) -> Iterator[Signal]:
    """All signals of a table, placebos last."""
    yield from _exponents(table)
    yield from _losses(table)
    yield from _gradients(table)
    yield from _placebos(table)


def cells(table: Table) -> pd.DataFrame:
    """Every configuration with its parameters, final validation loss and signals, a row each."""
    found = pd.DataFrame(table.case.cells)
    found["final_loss"] = table.validation[:, -1]
    for signal in signals(table):
        if not signal.name.startswith("placebo"):
            found[f"{signal.name} @ {signal.steps}"] = signal.values
    return found


def early_loss(table: Table, steps: int) -> Numbers:
    """Mean training loss over the last quarter of the first steps, `(N,)`; NaN once diverged."""
    quarter = max(1, steps // 4)
    return np.asarray(table.losses[:, steps - quarter : steps].mean(1))


def _exponents(table: Table) -> Iterator[Signal]:
    for neighbours in (1, 2, MANY):
        plural = "s" if neighbours > 1 else ""
        for h in HORIZONS:
            if neighbours < MANY or h <= MANY_HORIZON:
                cost = cost_of(table, "weights", neighbours, h)
                name = f"exponent, {neighbours} neighbour{plural}"
                yield Signal(name, h, cost, exponents(table, "weights", neighbours, h))
    for h in HORIZONS:
        cost = cost_of(table, "weights", 1, h)
        yield Signal("exponent once settled", h, cost, settled_exponents(table, 1, h))
    for neighbours in (1, 2):
        plural = "s" if neighbours > 1 else ""
        for h in HORIZONS[:-1]:
            cost = cost_of(table, "outputs", neighbours, h)
            name = f"exponent in outputs, {neighbours} neighbour{plural}"
            yield Signal(name, h, cost, exponents(table, "outputs", neighbours, h))
    for h in HORIZONS[:-1]:
        cost = cost_of(table, "tangent", 1, h)
        yield Signal("exponent by tangent", h, cost, exponents(table, "tangent", 1, h))


def _losses(table: Table) -> Iterator[Signal]:
    for steps in _LOSS_STEPS:
        yield Signal("training loss", steps, steps, early_loss(table, steps))
        yield Signal("sum of training losses", steps, steps, table.losses[:, :steps].sum(1))
    for place, step in enumerate(table.checkpoints):
        if step <= max(_LOSS_STEPS):
            cost = float(step) + table.facts.evaluation_cost
            yield Signal("validation loss", int(step), cost, table.validation[:, place])


def _gradients(table: Table) -> Iterator[Signal]:
    rates = np.array([cell["lr"] for cell in table.case.cells])
    for place, steps in enumerate(GRADIENT_STEPS):
        yield Signal("gradient norm", steps, steps + 1, table.gradient_norms[:, place])
        cost = steps + CURVATURE_COST
        yield Signal("rate times sharpness", steps, cost, rates * table.sharpness[:, place])


def _placebos(table: Table) -> Iterator[Signal]:
    rates = len(table.case.rates)
    lines = len(table.final) // rates
    rng = np.random.default_rng(derive_seed(0, "placebos", table.case.name))
    for h in HORIZONS[:-1]:
        cost = cost_of(table, "weights", 1, h)
        own = exponents(table, "weights", 1, h)
        yield Signal("placebo: shuffled exponent", h, cost, rng.permutation(own))
        other = own.reshape(lines, rates)[rng.permutation(lines)].ravel()
        yield Signal("placebo: exponent of another net", h, cost, other)
    log_rates = np.log([cell["lr"] for cell in table.case.cells])
    yield Signal("placebo: log lr", 5, 1.0, log_rates)
