"""What optuna-dashboard shows of a study is written while the study runs, by another process.

Figures need pandas, plotly and two more seconds of imports, which no run should pay for.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from optuna.trial import FrozenTrial

from lyapopt.study.file import StudyFile
from lyapopt.study.run.events import RunningTrial, StudyEvent, StudyListener

_PAUSE: Final = 30.0  # seconds between two refreshes, and several times what one takes
_FEWEST: Final = 5  # trials that have ended since the last
_SWITCH: Final = "LYAPOPT_DASHBOARD"
_NEEDED: Final = ("optuna_dashboard", "pandas", "plotly")


class Following(StudyListener):
    """Passes on what happens, and has the pages of optuna-dashboard written now and then.

    Args:
        listener: Told what happens.
        file: The study's file; with `output: {dashboard: false}` nothing is written, nor where
            optuna-dashboard is not installed or `LYAPOPT_DASHBOARD=0`.
        pause: Seconds between two refreshes.
    """

    def __init__(self, listener: StudyListener, file: StudyFile, pause: float = _PAUSE) -> None:
        self._listener, self._file, self._pause = listener, file.resolved(), pause
        self._process: subprocess.Popen[bytes] | None = None
        self._began = time.monotonic()
        self._took = 0.0
        self._new, self._has_news = 0, False
        is_there = all(importlib.util.find_spec(name) is not None for name in _NEEDED)
        self.is_on = file.output.dashboard and is_there and os.environ.get(_SWITCH) != "0"

    def started(self, event: StudyEvent) -> None:
        """Pass it on."""
        self._listener.started(event)

    def note(self, text: str) -> None:
        """Pass it on."""
        self._listener.note(text)

    def group_started(self, numbers: list[int]) -> None:
        """Pass it on."""
        self._listener.group_started(numbers)

    def training(self, trials: Sequence[RunningTrial]) -> None:
        """Pass it on."""
        self._listener.training(trials)

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        """Pass it on; it may be time to write."""
        self._listener.finished(trial, reason)
        self._new, self._has_news = self._new + 1, True
        if self.is_on and self._is_time():
            self._start([self._file.study_name])

    def stopped(self, event: StudyEvent, reason: str) -> None:
        """Pass it on."""
        self._listener.stopped(event, reason)

    def conclude(self, names: list[str]) -> None:
        """Have the pages of these studies written as they are at the end; the run may end before.

        Args:
            names: Of the studies.
        """
        if not self.is_on or not self._has_news:
            return
        if self._process is not None:
            self._process.wait()  # two would write the same
        self._start(names)

    def wait(self) -> bool:
        """Wait for pages that are being written; return whether they were."""
        return self._process is not None and self._process.wait() == 0

    def _is_time(self) -> bool:
        now = time.monotonic()
        if self._process is not None:
            if self._process.poll() is None:
                return False
            if self._took == 0.0:
                self._took = now - self._began
        return self._new >= _FEWEST and now - self._began > max(self._pause, 4 * self._took)

    def _start(self, names: list[str]) -> None:
        wanted = {"storage": self._file.storage, "studies": names, "store": self._file.store}
        self._began, self._took, self._new = time.monotonic(), 0.0, 0
        self._process = subprocess.Popen(
            [sys.executable, "-m", "lyapopt.web.inside"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the run, whose end it outlives
        )
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self._process.stdin.write(json.dumps(wanted).encode())
            self._process.stdin.close()
