"""The paper's experiments on exclusive or, at many settings at once.

T. Mitra, arXiv:2410.05988: Fig. 4 (exponent against rate), Table 1 (activations), Fig. 5 (exponent
against final loss over init seeds).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor

from lyapopt.bench import Numbers, Progress, silent
from lyapopt.dynamics import stack
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.exponents import from_neighbours
from lyapopt.probe.run import ProbeRun
from lyapopt.probe.verdicts import tail_length
from lyapopt.tasks.builder import TaskBuilder

ACTIVATIONS = ("sigmoid", "linear", "relu")
"""In the order of Table 1: highest exponent and highest loss first."""

PAPER = {"sigmoid": (-0.000055, 0.2659), "linear": (-0.000192, 0.2523), "relu": (-0.000209, 0.2520)}
"""Exponent and final loss as Table 1 has them."""

NEAREST: Mapping[str, Any] = {
    "init": "normal-weights",
    "output": "sigmoid",
    "width": 8,
    "lr": 0.01,
    "horizon": 10,
    "steps": 300,
}
"""The setting whose numbers come nearest to those of Table 1."""


@dataclass(frozen=True)
class Settings:
    """The grid of settings.

    Attributes:
        inits, outputs, widths: Initialisations, output activations and hidden units of networks.
        rates: Learning rates at which networks are trained to the end.
        horizons: Steps over which exponents are measured.
        steps: Numbers of steps after which a training may end, ascending.
        sweep: Learning rates at which exponents alone are measured.
        seeds: How many networks of every setting and activation are trained.
        sweep_seeds: How many of them the sweep measures.
        neighbours: How many neighbours measure the exponent of a trained network.
        nearest_seeds: How many networks of every activation are trained at the setting nearest to
            the paper's.
    """

    inits: tuple[str, ...] = ("normal-weights", "normal", "uniform", "default", "xavier")
    outputs: tuple[str, ...] = ("linear", "sigmoid")
    widths: tuple[int, ...] = (2, 8)
    rates: tuple[float, ...] = (0.01, 0.1, 1.0)
    horizons: tuple[int, ...] = (10, 50)
    steps: tuple[int, ...] = (300, 1000)
    sweep: tuple[float, ...] = (0.01, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
    seeds: int = 32
    sweep_seeds: int = 32
    neighbours: int = 16
    nearest_seeds: int = 1024

    @property
    def networks(self) -> list[dict[str, Any]]:
        """Init, output and width of every network."""
        points = itertools.product(self.inits, self.outputs, self.widths)
        return [dict(zip(("init", "output", "width"), p, strict=True)) for p in points]


QUICK = Settings(
    inits=("normal-weights", "default"),
    widths=(8,),
    rates=(0.01, 0.1),
    steps=(300,),
    seeds=32,
    sweep=(0.01, 0.1, 1.0, 10.0, 1000.0),
    nearest_seeds=128,
)


def trained(settings: Settings, progress: Progress = silent) -> pd.DataFrame:
    """Every network trained, at every rate.

    One row a network, rate, activation, seed, horizon and number of steps: columns `init`,
    `output`, `width`, `lr`, `activation`, `seed`, `horizon`, `steps`, `exponent` (nats per step),
    `initial_loss`, `loss`.
    """
    parts = []
    for network in settings.networks:
        cells = _cells(network, settings.rates, settings.seeds)
        measured = _run(cells, max(settings.steps), max(settings.horizons), settings.neighbours)
        for horizon, steps in itertools.product(settings.horizons, settings.steps):
            frame = pd.DataFrame(cells).rename(columns={"hidden": "width", "init_seed": "seed"})
            frame["horizon"], frame["steps"] = horizon, steps
            frame["exponent"] = measured.exponents(horizon)
            frame["initial_loss"] = measured.losses[:, 0]
            frame["loss"] = measured.losses[:, steps]
            parts.append(frame)
        progress(f"trained {_words(network)}")
    return pd.concat(parts, ignore_index=True)


def trained_nearest(settings: Settings, progress: Progress = silent) -> pd.DataFrame:
    """As `trained`, at the setting nearest to the paper's alone, and many networks of it."""
    place = Settings(
        inits=(NEAREST["init"],),
        outputs=(NEAREST["output"],),
        widths=(NEAREST["width"],),
        rates=(NEAREST["lr"],),
        horizons=(NEAREST["horizon"],),
        steps=(NEAREST["steps"],),
        seeds=settings.nearest_seeds,
        neighbours=settings.neighbours,
    )
    return trained(place, progress)


def swept(settings: Settings, progress: Progress = silent) -> pd.DataFrame:
    """Exponents at every rate of the sweep, without training to the end.

    Columns `init`, `output`, `width`, `lr`, `activation`, `seed`, `horizon`, `exponent`,
    `is_dead` (nothing moves, and the exponent is 0).
    """
    parts = []
    for network in settings.networks:
        cells = _cells(network, settings.sweep, settings.sweep_seeds)
        longest = max(settings.horizons)
        measured = _run(cells, 0, longest, neighbours=2)
        for horizon in settings.horizons:
            frame = pd.DataFrame(cells).rename(columns={"hidden": "width", "init_seed": "seed"})
            frame["horizon"] = horizon
            frame["exponent"] = measured.exponents(horizon)
            frame["is_dead"] = measured.is_still if horizon == longest else False
            parts.append(frame)
        progress(f"swept {_words(network)}")
    return pd.concat(parts, ignore_index=True)


def _cells(network: Mapping[str, Any], rates: Sequence[float], seeds: int) -> list[dict[str, Any]]:
    own = {"init": network["init"], "output": network["output"], "hidden": network["width"]}
    return [
        {**own, "activation": activation, "lr": rate, "init_seed": seed}
        for activation, rate, seed in itertools.product(ACTIVATIONS, rates, range(seeds))
    ]


@dataclass(frozen=True)
class _Measured:
    """Losses `(N, steps + 1)`, log separations `(N, horizon + 1, K)`, and who stands still."""

    losses: Numbers
    separations: Numbers
    is_still: NDArray[np.bool_]

    def exponents(self, horizon: int) -> Numbers:
        """Eq. 4 as published (the log of the mean separation), rescaled at every step.

        NaN where a training diverged.
        """
        with np.errstate(all="ignore"):  # separations of networks that blew up
            growth = np.diff(self.separations[:, : horizon + 1], axis=1)
            found: Numbers = np.log(np.exp(growth).mean(-1)).mean(1)
        return found


def _run(
    cells: Sequence[Mapping[str, Any]], steps: int, horizon: int, neighbours: int
) -> _Measured:
    build = TaskBuilder("xor", {"steps": max(steps, 1)})
    trainings = [build(cell) for cell in cells]
    losses = np.full((len(cells), steps + 1), np.nan)
    separations = np.full((len(cells), horizon + 1, neighbours), np.nan)
    is_still = np.zeros(len(cells), dtype=bool)
    tail = horizon - tail_length(horizon)
    for rows, step in stack(trainings, compile="off"):
        z0 = step.initial_state()
        kept: list[Tensor] = []

        def observe(t: int, z: Tensor, loss: Tensor | None, kept: list[Tensor] = kept) -> None:
            if t == tail:
                kept.append(z[:, 0].clone())

        seeds = [derive_seed(0, "paper", int(cells[row]["init_seed"])) for row in rows]
        run = from_neighbours(
            step,
            z0,
            horizon,
            neighbours=neighbours,
            average="paper",
            seed=seeds,
            observe=observe,
        )
        separations[rows] = run.log_separations.movedim(1, 0).numpy()
        is_still[rows] = ProbeRun(run, kept[0], run.final_state[:, 0]).stands_still(run.radius)
        z = z0
        for t in range(steps + 1):
            z, loss = step.step_with_losses(z, t)
            losses[rows, t] = loss[:, 0].numpy()
            if steps == 0:
                break
    return _Measured(losses, separations, is_still)


def _words(network: Mapping[str, Any]) -> str:
    return f"{network['init']} init, {network['output']} output, width {network['width']}"


def at_setting(frame: pd.DataFrame, setting: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of one setting, whose columns may be fewer."""
    for name, value in setting.items():
        if name in frame:
            frame = frame[frame[name] == value]
    return frame


def by_setting(
    frame: pd.DataFrame, names: Sequence[str]
) -> Iterator[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of every setting."""
    for key, part in frame.groupby(list(names), sort=False):
        values = key if isinstance(key, tuple) else (key,)
        yield dict(zip(names, values, strict=True)), part
