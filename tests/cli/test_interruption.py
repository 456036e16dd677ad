"""Ctrl-C and the death of the process lose no finished trial, and change no result."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from command_line import STUDY, lyapopt, results, run_here, start, trials, write

LONGER = STUDY.replace("steps: 40", "steps: 400").replace("n_trials: 8", "n_trials: 12")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("uninterrupted")
    write(folder, LONGER)
    run_here(folder)
    return results(folder)


def stopped_after_first_group(folder: Path, number: int) -> tuple[int, str]:
    """Sends a signal once the first trials have ended, and gives exit code and stderr."""
    process: subprocess.Popen[str] = start(folder, "run", "study.yaml")
    assert process.stderr is not None
    seen = ""
    while "trial    3" not in seen:
        line = process.stderr.readline()
        assert line, f"it ended early: {seen}"
        seen += line
    process.send_signal(number)
    _, rest = process.communicate(timeout=300)
    return process.returncode, seen + rest


def test_after_ctrl_c_the_same_command_goes_on_to_the_same_result(
    tmp_path: Path, uninterrupted: list[str]
) -> None:
    write(tmp_path, LONGER)
    code, shown = stopped_after_first_group(tmp_path, signal.SIGINT)
    assert code == 130
    assert "Traceback" not in shown
    assert "interrupted" in shown
    kept = trials(tmp_path)
    assert 4 <= sum(trial["state"] in ("complete", "pruned") for trial in kept) < 12
    assert {trial["state"] for trial in kept} <= {"complete", "pruned", "interrupted"}

    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == uninterrupted


@pytest.mark.slow
def test_after_a_kill_the_same_command_goes_on_to_the_same_result(
    tmp_path: Path, uninterrupted: list[str]
) -> None:
    write(tmp_path, LONGER)
    code, _ = stopped_after_first_group(tmp_path, signal.SIGKILL)
    assert code == -signal.SIGKILL
    status = lyapopt(tmp_path, "status", "study.db")
    assert status.returncode == 0
    assert "complete" in status.stdout

    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 0, done.stderr
    assert results(tmp_path) == uninterrupted
