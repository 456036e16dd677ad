"""Whether float32 twins of the built-in cases are judged as these are, in float64.

`python -m lyapopt.bench.tables.float32_verdicts [CONFIGURATIONS]` measures so many configurations
(42 by default) of every network with every optimiser, drawn from its grid, in either precision, and
prints a row a network. About two minutes of processor time.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from lyapopt.bench import Progress, silent
from lyapopt.bench.tables.cases import NETWORKS, OPTIMIZERS, Case, case
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.probe import Measurement, Probe
from lyapopt.tasks.builder import TaskBuilder

_RELATIVE, _ABSOLUTE = 0.05, 0.002
"""How near exponents are that count as equal where there is no interval."""


@dataclass(frozen=True)
class _Agreement:
    """What two precisions have said of one configuration."""

    verdicts: bool
    exponents: bool

    @classmethod
    def of(cls, narrow: Measurement, wide: Measurement) -> _Agreement:
        margin = max(_RELATIVE * abs(wide.exponent), _ABSOLUTE)
        is_near = abs(narrow.exponent - wide.exponent) <= margin
        is_equal = bool(np.array_equal(narrow.exponent, wide.exponent, equal_nan=True))
        is_within = (
            wide.low is not None
            and wide.high is not None
            and wide.low <= narrow.exponent <= wide.high
        )
        return cls(narrow.verdict == wide.verdict, is_near or is_equal or is_within)


def agreement(
    networks: Sequence[str] = tuple(NETWORKS),
    configurations: int = 42,
    probe: Probe | None = None,
    progress: Progress = silent,
) -> pd.DataFrame:
    """One row a network: `network`, `configurations`, `verdicts`, `exponents`.

    The last two are the shares of configurations in which a float32 network and the same one in
    float64 have one verdict, and exponents within the interval of the one in float64, or within 5 %
    or .002.

    Args:
        networks: Names of `NETWORKS`; each is taken with every optimiser.
        configurations: Of a network and an optimiser, drawn from its grid without replacement.
        probe: The measurement; `Probe()` by default, as in a study.
        progress: Called with every case.

    Example:
        >>> found = agreement(["breast-cancer-small"], configurations=2)
        >>> found["configurations"].tolist()
        [6]
    """
    probe = probe or Probe()
    rows = []
    for network in networks:
        found: list[_Agreement] = []
        for optimizer in OPTIMIZERS:
            progress(f"{network}/{optimizer}")
            found += _compare(case(network, optimizer), configurations, probe)
        verdicts = [one.verdicts for one in found]
        exponents = [one.exponents for one in found]
        rows.append((network, len(found), np.mean(verdicts), np.mean(exponents)))
    return pd.DataFrame(rows, columns=["network", "configurations", "verdicts", "exponents"])


def _compare(of: Case, configurations: int, probe: Probe) -> list[_Agreement]:
    rng = np.random.default_rng(derive_seed(0, "float32", of.name))
    count = min(configurations, len(of.cells))
    drawn = [of.cells[cell] for cell in rng.choice(len(of.cells), size=count, replace=False)]
    narrow, wide = (_measured(of, drawn, probe, dtype) for dtype in (torch.float32, torch.float64))
    return [_Agreement.of(a, b) for a, b in zip(narrow, wide, strict=True)]


def _measured(
    of: Case, cells: Sequence[Mapping[str, Any]], probe: Probe, dtype: torch.dtype
) -> list[Measurement]:
    build = TaskBuilder(of.task, of.options, dtype=dtype)
    return probe.measure([build(params) for params in cells])


def main(arguments: Sequence[str]) -> None:
    """Print the table, and the shares of all configurations together."""
    found = agreement(configurations=int(arguments[0]) if arguments else 42, progress=_say)
    print(found.round(3).to_string(index=False))
    weights = found["configurations"]
    for share in ("verdicts", "exponents"):
        print(f"all {weights.sum()}: {share} {np.average(found[share], weights=weights):.3f}")


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
