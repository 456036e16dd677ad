"""Whole studies, start of the process to its end: the plain script against `lyapopt run`.

What lyapopt writes for optuna-dashboard at the end of a run is left out: it is another process,
takes some 4 s, and makes pages that the plain script does not (`output: {dashboard: false}`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from lyapopt.bench.speed.whole import plain
from lyapopt.bench.speed.whole.searches import SEARCHES, SearchCase
from lyapopt.bench.speed.whole.split import PARTS
from lyapopt.bench.timing import Row, Spread, temporary_folder

QUICK = ("four", "xor")
_GROUP = "a study, start to end: plain Optuna / lyapopt"


class _Seconds(NamedTuple):
    wall: float
    processor: float


def whole_rows(rounds: int, names: Sequence[str] | None = None) -> Iterator[Row]:
    """Ratios of the times of whole processes, and what those of lyapopt are spent on.

    Args:
        rounds: How often each search is run in both ways, in turn.
        names: Which searches; all by default.
    """
    for name in names or SEARCHES:
        with temporary_folder() as folder:
            yield from _rows_of(SEARCHES[name], Path(folder), rounds)


def _rows_of(case: SearchCase, folder: Path, rounds: int) -> Iterator[Row]:
    study = folder / "study.yaml"
    study.write_text(case.study_file("lyapopt.db"))
    theirs, ours, imports = [], [], []
    for _ in range(min(rounds, case.rounds)):
        imports.append(_run(["-c", "import torch, optuna"], folder))
        script = [plain.__file__, case.name, "plain.db", str(case.trials)]
        theirs.append(_run(script, folder))
        ours.append(_run(["-m", "lyapopt", "run", study.name], folder))
    for clock in ("wall", "processor"):
        pairs = [(getattr(a, clock), getattr(b, clock)) for a, b in zip(theirs, ours, strict=True)]
        plain_s, own_s = (Spread.of([pair[k] for pair in pairs]).median for k in (0, 1))
        ratio = Spread.of([a / b for a, b in pairs])
        detail = f"{plain_s:.3g} / {own_s:.3g} s"
        yield Row(_GROUP, f"{case.what}, {clock} time", ratio, case.target, detail=detail)
    parts = _split(study, folder)
    yield from _start_up_rows(case, parts, theirs, ours, imports)
    total = sum(parts.values())
    spent = ", ".join(f"{part} {parts.get(part, 0.0):.2f}" for part in PARTS)
    name = f"{case.what}: processor time of lyapopt by part"
    yield Row(_GROUP, name, Spread(total, total, total), unit="s", detail=spent)


def _start_up_rows(
    case: SearchCase,
    parts: Mapping[str, float],
    theirs: Sequence[_Seconds],
    ours: Sequence[_Seconds],
    imports: Sequence[_Seconds],
) -> Iterator[Row]:
    """What lyapopt does before its first group, and the rest of both without it.

    The plain script is taken to start when torch and Optuna are imported.
    """
    start = parts["start-up"]
    own, of_imports = (Spread.of([run.processor for run in runs]) for runs in (ours, imports))
    share = Spread.of([start / run.processor for run in imports])
    detail = f"{start:.3g} / {of_imports.median:.3g} s"
    name = f"{case.what}: start-up / import torch, optuna, processor time"
    yield Row(_GROUP, name, share, 1.2, "at most", detail=detail)
    rest = Spread.of(
        [
            (a.processor - begun.processor) / (b.processor - start)
            for a, b, begun in zip(theirs, ours, imports, strict=True)
        ]
    )
    name = f"{case.what} without start-up, processor time"
    yield Row(_GROUP, name, rest, detail=f"{own.median - start:.3g} s of lyapopt")


def _split(study: Path, folder: Path) -> dict[str, float]:
    """Seconds by part of one more run, in which they are watched."""
    result = folder / "split.json"
    _run(["-m", "lyapopt.bench.speed.whole.split", study.name, result.name], folder)
    parts: dict[str, float] = json.loads(result.read_text())
    return parts


def _run(arguments: Sequence[str], folder: Path) -> _Seconds:
    """Run a process of this Python on one thread in a folder without databases."""
    for database in folder.glob("*.db*"):
        database.unlink()
    # As an installation runs: where bytecode is not kept, each start compiles our modules again.
    own = {name: v for name, v in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    own["OMP_NUM_THREADS"] = "1"
    own["LYAPOPT_DASHBOARD"] = "0"  # pages at the end, which the plain script has not
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=own, capture_output=True, text=True
    )
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{' '.join(arguments)} failed: {done.stderr.strip()[-500:]}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _Seconds(wall, used)
