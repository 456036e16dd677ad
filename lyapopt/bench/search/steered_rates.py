"""Learning rates by steering, by the range test, and the best on a grid, over widths of a network.

`summary(compare_tasks(["digits"]))` has the numbers that `lyapopt.steer` is documented with. Each
rate is trained in full, so that what it is worth is the final validation loss and not how near it
lies to some optimum. Steering is done twice: as `lyapopt.steer` does it, on the growth of
neighbours that have turned for half of the horizon, and on growth from the first step on, where a
random direction has the less of the fastest-growing one in it the more weights there are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from optuna.distributions import FloatDistribution

from lyapopt.bench import Progress, silent
from lyapopt.bench.range_test import STEPS as RANGE_STEPS
from lyapopt.bench.range_test import rising_losses, step_of_steepest_descent
from lyapopt.bench.tables.cases import OPTIMIZERS
from lyapopt.dynamics import Training, stack
from lyapopt.probe import Probe
from lyapopt.search import steer
from lyapopt.search.probing.probes import optimizer_name
from lyapopt.search.steering.growth import point_of
from lyapopt.search.steering.search_line import Axis, SearchLine
from lyapopt.search.steering.target import PRIORS
from lyapopt.tasks.builder import TaskBuilder

LOW, HIGH = 1e-4, 10.0
_GRID = 21

MakeTraining = Callable[[float], Training]


def compare_tasks(
    tasks: Sequence[str],
    widths: Sequence[int] = (16, 64, 256),
    activations: Sequence[str] = ("tanh",),
    optimizers: Sequence[str] = ("sgd",),
    steps: int = 300,
    seeds: int = 3,
    progress: Progress = silent,
) -> pd.DataFrame:
    """The rows of `compare_rates`, with a column `case`, for every combination.

    Args:
        tasks: Names of built-in tasks.
        widths: Units of each of two hidden layers.
        activations: Names of the activations between them.
        optimizers: Some of `lyapopt.bench.tables.cases.OPTIMIZERS`.
        steps: Steps of a full training.
        seeds: How many initialisations of every network.
        progress: Called with every case that is done.
    """
    torch.set_num_threads(1)
    found = []
    for task, activation, optimizer in itertools.product(tasks, activations, optimizers):
        options = {"steps": steps, "activation": activation, **OPTIMIZERS[optimizer]}
        case = f"{task} {activation} {optimizer}"
        found.append(compare_rates(task, widths, options, seeds).assign(case=case))
        progress(case)
    return pd.concat(found)


def compare_rates(
    task: str, widths: Sequence[int], options: Mapping[str, Any], seeds: int = 3
) -> pd.DataFrame:
    """One row a width, seed and method: `rate`, final `loss`, and `cost` in gradient evaluations.

    Args:
        task: Name of a built-in task.
        widths: Units of each of two hidden layers.
        options: Options of the task.
        seeds: How many initialisations.
    """
    rows = []
    for width in widths:
        for seed in range(seeds):
            builder = TaskBuilder(task, {**options, "hidden": [width, width]})

            def make(rate: float, builder: TaskBuilder = builder, seed: int = seed) -> Training:
                return builder({"lr": rate, "init_seed": seed})

            rows += [{"width": width, "seed": seed, **row} for row in _one_network(make)]
    return pd.DataFrame(rows)


def _one_network(make: MakeTraining) -> list[dict[str, Any]]:
    found = steer(lambda params: make(params["lr"]), low=LOW, high=HIGH)
    unsettled, cost = steered_from_the_first_step(make)
    chosen: list[tuple[str, float, float]] = [
        ("steer", found.rate, found.gradient_evaluations),
        ("steer, from the first step", unsettled, cost),
        ("range test", range_test(make), float(RANGE_STEPS)),
    ]
    grid = [float(rate) for rate in np.geomspace(LOW, HIGH, _GRID)]
    losses = final_losses([make(rate) for rate in [*grid, *(rate for _, rate, _ in chosen)]])
    best = min(range(_GRID), key=lambda k: losses[k])
    steps = make(LOW).steps or 0
    chosen.append(("best of a grid", grid[best], float(_GRID * steps)))
    return [
        {"method": name, "rate": rate, "loss": loss, "cost": cost}
        for (name, rate, cost), loss in zip(chosen, [*losses[_GRID:], losses[best]], strict=True)
    ]


def steered_from_the_first_step(make: MakeTraining) -> tuple[float, float]:
    """Steering by the whole horizon; rate and cost."""
    axis = Axis(FloatDistribution(LOW, HIGH, log=True))
    rates = [float(axis.value(x)) for x in np.linspace(axis.low, axis.high, _GRID)]
    trainings = [make(rate) for rate in rates]
    line = SearchLine(axis, PRIORS[optimizer_name(trainings[0].optimizer)])
    measured = Probe(horizon=20, neighbours=4).measure(trainings)
    for rate, m in zip(rates, measured, strict=True):
        line.add([point_of(axis, rate, m, settle=0.0)])
    return float(line.winner().value), sum(m.gradient_evaluations for m in measured)


def range_test(make: MakeTraining) -> float:
    """The rate of steepest descent while the rate grows from step to step."""
    growth = (HIGH / LOW) ** (1 / (RANGE_STEPS - 1))
    [losses] = rising_losses([make(LOW)], [growth**step for step in range(RANGE_STEPS)])
    return float(LOW * growth ** step_of_steepest_descent(losses))


def final_losses(trainings: Sequence[Training]) -> list[float]:
    """Validation losses after each training's steps; infinite for what diverged."""
    found = [math.inf] * len(trainings)
    for rows, step in stack(trainings):
        z = step.initial_state()
        for t in range(trainings[rows[0]].steps or 0):
            z, _ = step.step_with_losses(z, t)
        for position, row in enumerate(rows):
            if torch.isfinite(z[position]).all():
                loss = step.evaluate(z, [position]).losses[0]
                found[row] = loss if math.isfinite(loss) else math.inf
    return found


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """Geometric means over cases and seeds: rates, and losses in those of the grid's best.

    A loss that is a hundred times that or more, or not finite, counts as a hundred times.
    """
    network = ["case", "width", "seed"]
    best = table[table["method"] == "best of a grid"].set_index(network)["loss"]
    ratio = (
        table["loss"].to_numpy()
        / best.loc[list(table[network].itertuples(index=False, name=None))].to_numpy()
    )
    logs = table.assign(rate=np.log(table["rate"]), loss=np.log(np.minimum(ratio, 100.0)))
    mean = logs.groupby(["width", "method"], sort=False)[["rate", "loss", "cost"]].mean()
    return mean.assign(rate=np.exp(mean["rate"]), loss=np.exp(mean["loss"]))
