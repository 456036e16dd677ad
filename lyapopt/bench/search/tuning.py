"""How settings were chosen: variants of our ranked search on the held-in cases, nothing else.

`scan(progress=print)` measures all of them; the winner is in `frozen`.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import optuna
import pandas as pd

from lyapopt.bench import Numbers, Progress, silent
from lyapopt.bench.search.frozen import RANKED, Ranked
from lyapopt.bench.search.methods import steered_and_ranked
from lyapopt.bench.search.replay import Replay
from lyapopt.bench.search.statistics import BUDGETS, SMALL, area
from lyapopt.bench.tables.cache import table_of
from lyapopt.bench.tables.cases import HELD_IN, cases_of
from lyapopt.bench.tables.table import Table

SEEDS = 10


def variants() -> Iterator[Ranked]:
    """What is tried: one setting changed at a time, and rounds with parts together."""
    yield RANKED
    for reuse in (None, 0.15, 0.25, 0.4, 0.6):
        yield _steered(reuse=reuse)
    for horizon in (5, 15, 20):
        yield _steered(horizon=horizon)
    for target in (0.003, 0.01, 0.03):
        yield _steered(target=target)
    for rounds, part in itertools.product((2, 3, 4), (1 / 16, 1 / 8, 1 / 5, 1 / 4)):
        yield dataclasses.replace(_steered(rounds=rounds), part=part)
    for share in (0.33, 0.5, 0.6, 0.8, 0.9):
        yield dataclasses.replace(RANKED, share=share)


def _steered(**changed: Any) -> Ranked:
    return dataclasses.replace(RANKED, steered=dataclasses.replace(RANKED.steered, **changed))


def regrets(how: Ranked, tables: list[Table], seeds: int = SEEDS) -> Numbers:
    """Regrets of a variant, `(tables, seeds, budgets)`."""
    found = np.zeros((len(tables), seeds, len(BUDGETS)))
    for i, j, k in np.ndindex(*found.shape):
        replay = Replay(tables[i], BUDGETS[k], j)
        steered_and_ranked(replay, how)
        found[i, j, k] = tables[i].regret(replay.best_at(BUDGETS[k]))
    return found


def scan(progress: Progress = silent) -> pd.DataFrame:
    """Mean areas under regret, over all budgets (`area`) and small ones (`small`), a row a variant.

    Args:
        progress: Called with every row, and with what is recorded first.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    tables = [table_of(case, progress=progress) for case in cases_of(HELD_IN)]
    few = [budget for budget in BUDGETS if budget <= SMALL]
    rows = []
    for variant in variants():
        mean = regrets(variant, tables).mean((0, 1))
        row = {"area": float(area(mean, BUDGETS)), "small": float(area(mean[: len(few)], few))}
        progress(f"{row['area']:.4f} {row['small']:.4f} {variant}")
        rows.append({**row, "variant": variant})
    return pd.DataFrame(rows)
