"""Where the time of a study goes: Optuna, recording, probing, training."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import optuna

from lyapopt.bench.timing import Row, Spread, temporary_folder
from lyapopt.dynamics import TrainingMap
from lyapopt.probe import Probe
from lyapopt.search.trajectory_recorder import Recorder
from lyapopt.store import TrajectoryStore

_TRIALS = 48
_STUDY = """\
version: 1
study_name: split
storage: sqlite:///{folder}/split.db
seed: 0
task: {{name: xor, steps: 300}}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {{type: float, low: 0.01, high: 1.0, log: true}}
  init_seed: {{type: seed}}
sampler: random
pruner: none
n_trials: {trials}
trials_at_once: 16
"""


RunFile = Callable[[Path], object]


class Stopwatch:
    """Time spent in named parts, each second counted once: for the innermost part."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._open: list[str] = []
        self._since = time.perf_counter()

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Count what happens inside for `part`."""
        self._switch()
        self._open.append(part)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    def is_in(self, part: str) -> bool:
        """Whether `part` is running, maybe with another part inside."""
        return part in self._open

    def _switch(self) -> None:
        now = time.perf_counter()
        if self._open:
            part = self._open[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


def study_rows(run: RunFile) -> Iterator[Row]:
    """Milliseconds a trial of a study of xor nets, by what they are spent on.

    Args:
        run: Runs a study file (studies are no part of what a bench may import).
    """
    watch = Stopwatch()
    with temporary_folder() as folder, ExitStack() as patches:
        _watch(watch, patches)
        with watch.running("rest"):
            path = Path(folder, "study.yaml")
            path.write_text(_STUDY.format(folder=folder, trials=_TRIALS))
            run(path)
    for part in ("recording", "optuna", "probing", "training", "rest"):
        found = watch.seconds.get(part, 0.0) / _TRIALS * 1e3
        target = 3.0 if part == "recording" else None
        yield Row("a trial", part, Spread(found, found, found), target, "at most", "ms")


def _watch(watch: Stopwatch, patches: ExitStack) -> None:
    methods = [
        ("optuna", optuna.Study, ("ask", "tell", "get_trials", "set_user_attr")),
        ("optuna", optuna.Trial, ("report", "should_prune", "set_user_attr", "_suggest")),
        ("recording", TrajectoryStore, ("record_all",)),
        ("recording", Recorder, ("observe", "keep", "losses", "trajectories")),
        ("probing", Probe, ("run", "read")),
        ("training", TrainingMap, ("step_with_losses", "evaluate", "of_systems")),
    ]
    for part, owner, names in methods:
        for name in names:
            if hasattr(owner, name):
                _replace(patches, owner, name, watch, part)


def _replace(patches: ExitStack, owner: type, name: str, watch: Stopwatch, part: str) -> None:
    own = vars(owner).get(name)
    if own is None:
        return
    inner = own.__func__ if isinstance(own, classmethod) else own

    @functools.wraps(inner)
    def call(*args: Any, **kwargs: Any) -> Any:
        # Steps of neighbours are part of the probe.
        now = "probing" if part == "training" and watch.is_in("probing") else part
        with watch.running(now):
            return inner(*args, **kwargs)

    setattr(owner, name, classmethod(call) if isinstance(own, classmethod) else call)
    patches.callback(setattr, owner, name, own)
