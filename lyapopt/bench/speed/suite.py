"""`lyapopt bench speed`: every ratio side by side in one run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from lyapopt.bench import Progress, silent
from lyapopt.bench.speed.asks import ask_rows
from lyapopt.bench.speed.exponents import exponent_rows
from lyapopt.bench.speed.startup import startup_rows
from lyapopt.bench.speed.steps import step_rows
from lyapopt.bench.speed.studies import RunFile, study_rows
from lyapopt.bench.speed.trials import emptied_rows, trial_rows
from lyapopt.bench.speed.whole.rows import QUICK as QUICK_SEARCHES
from lyapopt.bench.speed.whole.rows import whole_rows
from lyapopt.bench.speed.whole.searches import SEARCHES
from lyapopt.bench.timing import Report, Row
from lyapopt.dynamics.threads import one_thread


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Args:
        rounds: Turns of every rival.
        seconds: Least time of a turn.
        compiles: Whether compiled steps are measured too; compiling takes about a minute.
    """

    rounds: int = 15
    seconds: float = 0.1
    compiles: bool = True


_OF_WHOLE = "whole:"
PARTS = ("whole", "steps", "exponents", "trials", "asks", "studies", "startup")
SEARCHES_ALONE = tuple(f"{_OF_WHOLE}{name}" for name in SEARCHES)
"""The searches of `whole` as parts of their own."""
QUICK = Effort(rounds=5, seconds=0.03, compiles=False)


def measure_speed(
    effort: Effort,
    run_file: RunFile,
    progress: Progress = silent,
    parts: Sequence[str] | None = None,
) -> Report:
    """Measure all of it, or some parts.

    Args:
        effort: How long to measure.
        run_file: Runs a study file.
        progress: Called with every part before it starts.
        parts: Some of `PARTS`, or searches such as `whole:digits`; all by default.
    """
    rounds = 3 if effort.compiles else 1
    measures: dict[str, Callable[[Effort, list[str]], Iterator[Row]]] = {
        "whole": lambda e, notes: whole_rows(rounds, None if e.compiles else QUICK_SEARCHES),
        "steps": lambda e, notes: step_rows(e.rounds, e.seconds, e.compiles),
        "exponents": lambda e, notes: exponent_rows(e.rounds, e.seconds, e.compiles, notes),
        "trials": lambda e, notes: chain(
            trial_rows(max(3, e.rounds // 3), e.compiles), emptied_rows(e.rounds)
        ),
        "asks": lambda e, notes: ask_rows(e.rounds),
        "studies": lambda e, notes: study_rows(run_file),
        "startup": lambda e, notes: startup_rows(e.rounds),
    }
    rows: list[Row] = []
    notes: list[str] = []
    with one_thread():
        for name in parts or PARTS:
            progress(name)
            search = name.removeprefix(_OF_WHOLE)
            is_part = search == name
            rows += measures[name](effort, notes) if is_part else whole_rows(rounds, [search])
    return Report(rows, notes)
