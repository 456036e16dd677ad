"""Where the time of a study goes, from the start of its process to the end.

`python -m lyapopt.bench.speed.whole.split STUDY RESULT` runs a study file as `lyapopt run` does,
and writes seconds of processor time by what they are spent on. What belongs to no part is `rest`,
so that the parts add up to the whole. Probing is the first steps of each trial, over the horizon,
and the neighbours that run beside them. It is a process of its own, and names what it watches:
nothing of a benchmark imports studies.
"""

from __future__ import annotations

import functools
import importlib
import json
import runpy
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lyapopt import garbage

PARTS = (
    "start-up",
    "optuna",
    "building",
    "probing",
    "training",
    "evaluating",
    "recording",
    "storage",
    "rest",
)

_WATCHED = (
    ("optuna", "lyapopt.study.run.leases", "Leases", ("ask", "tell")),
    ("optuna", "lyapopt.search.objective", "Objective", ("prepare", "_complete")),
    ("optuna", "lyapopt.search.reporting", "Reporter", ("measured", "evaluated")),
    ("building", "lyapopt.search.objective", "", ("build_training",)),
    ("building", "lyapopt.search.training_group", "", ("read_system", "reference_of")),
    ("building", "lyapopt.search.training_stack", "", ("maps_of",)),
    ("building", "lyapopt.search.training_stack", "TrainingStack", ("of_running",)),
    (
        "probing",
        "lyapopt.search.training_stack",
        "TrainingStack",
        ("begin_alone", "measure_beside", "measure"),
    ),
    ("training", "lyapopt.search.training_stack", "TrainingStack", ("advance",)),
    ("evaluating", "lyapopt.search.training_stack", "TrainingStack", ("evaluate",)),
    (
        "recording",
        "lyapopt.search.trajectory_recorder",
        "Recorder",
        ("observe", "observe_neighbours", "keep", "losses", "trajectories"),
    ),
    ("recording", "lyapopt.search.objective", "Objective", ("record_of", "conclude")),
    (
        "storage",
        "lyapopt.store.buffered.buffer",
        "TrialBuffer",
        ("flush_quietly", "write", "create", "_refresh"),
    ),
    ("storage", "lyapopt.study.run.group", "GroupRunner", ("_tell_all",)),
    ("storage", "lyapopt.study.run.execution", "Execution", ("_lease",)),
)


class Stopwatch:
    """Processor time of parts, each second counted once: for the innermost part."""

    def __init__(self, first: str) -> None:
        self.seconds: dict[str, float] = {}
        self._open = [first]
        self._since = 0.0  # the clock begins with the process

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Count what happens inside for `part`."""
        self.switch()
        self._open.append(part)
        try:
            yield
        finally:
            self.switch()
            self._open.pop()

    def switch(self, first: str | None = None) -> None:
        """Count what has passed.

        Args:
            first: What the time outside of all parts belongs to from now on.
        """
        now = time.process_time()
        part = self._open[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now
        if first is not None:
            self._open[0] = first


def _watch(watch: Stopwatch) -> None:
    """Let the parts tell when they begin and end; the first group ends the start-up."""
    runner: Any = importlib.import_module("lyapopt.study.run.group").GroupRunner
    for part, module, owner, names in _WATCHED:
        home: Any = importlib.import_module(module)
        home = getattr(home, owner) if owner else home
        for name in names:
            setattr(home, name, _timed(getattr(home, name), watch, part))
    run = runner.run

    def first_run(*args: Any) -> Any:
        watch.switch("rest")
        return run(*args)

    runner.run = first_run


def _timed(function: Any, watch: Stopwatch, part: str) -> Any:
    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            return function(*args, **kwargs)
        with watch.running(part):
            return function(*args, **kwargs)

    return call


def main(study: str, result: str) -> None:
    """Run a study file, and write what its time was spent on."""
    watch = Stopwatch("start-up")
    with garbage.kept():  # as the command does, which finds them imported
        _watch(watch)
    sys.argv = ["lyapopt", "run", study]
    try:
        runpy.run_module("lyapopt", run_name="__main__")
    except SystemExit as end:
        if end.code:
            raise
    watch.switch()
    Path(result).write_text(json.dumps(watch.seconds))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
