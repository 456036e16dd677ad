"""What a command costs before it does anything."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lyapopt.bench.timing import Row, Spread, temporary_folder

_STUDY = """\
version: 1
study_name: startup
storage: sqlite:///startup.db
task: {name: xor}
search_space: {lr: {type: float, low: 0.01, high: 1.0, log: true}}
n_trials: 1
"""


def startup_rows(rounds: int) -> Iterator[Row]:
    """Seconds of whole processes by the clock on the wall; torch must not be imported."""
    with temporary_folder() as folder:
        study = Path(folder, "study.yaml")
        study.write_text(_STUDY)
        commands = {
            "lyapopt --help": (["-m", "lyapopt", "--help"], 0.3),
            "lyapopt validate": (["-m", "lyapopt", "validate", str(study)], 0.3),
            "import lyapopt": (["-c", "import lyapopt"], 0.2),
        }
        for name, (arguments, target) in commands.items():
            _seconds(arguments)  # which compiles what is not compiled yet, and does not count
            times = [_seconds(arguments) for _ in range(rounds)]
            yield Row("startup", name, Spread.of(times), target, "at most", "s")


def _seconds(arguments: list[str]) -> float:
    # As an installation runs: where bytecode is not kept, each start compiles our modules again.
    kept = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True, env=kept)
    return time.perf_counter() - start
