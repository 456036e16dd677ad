"""Whatever is wrong, the command line says it in words, and loses nothing."""

from __future__ import annotations

import contextlib
import io
import sqlite3
from pathlib import Path

import pytest
from command_line import OWN_STUDY, OWN_TASK, STUDY, lyapopt, run_here, trials, write

from lyapopt.cli.exit_codes import run_reporting_failures
from lyapopt.cli.text import fitted

WRONG_FILES = {
    "wrong type": ("n_trials: 8", "n_trials: many", "n_trials"),
    "unknown key": ("n_trials: 8", "n_trails: 8", "did you mean n_trials"),
    "low above high": ("low: 0.01", "low: 30", "search_space.lr"),
    "no such sampler": ("name: tpe", "name: tpee", "tpe"),
}


@pytest.mark.parametrize("case", WRONG_FILES)
@pytest.mark.parametrize("command", ["validate", "run"])
def test_a_wrong_file_is_refused_with_its_place(tmp_path: Path, case: str, command: str) -> None:
    right, wrong, said = WRONG_FILES[case]
    write(tmp_path, STUDY.replace(right, wrong))
    done = lyapopt(tmp_path, command, "study.yaml")
    assert done.returncode == 2
    assert done.stdout == ""
    assert said in done.stderr
    assert "study.yaml:" in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nowhere.yaml"], "nowhere.yaml"),
        (["run"], "Missing argument"),
        (["jump"], "No such command"),
        (["run", "study.yaml", "--extra", "none"], "--extra"),
        (["run", "study.yaml", "--set", "seed"], "key=value"),
        (["status", "nowhere.db"], "there is no file nowhere.db"),
        (["status", "sqlite:///nowhere.db"], "no such file"),
        (["status", "study.yaml"], "to run the study: lyapopt run study.yaml"),
        (["best", "text.db"], "neither a SQLite database nor a study file"),
        (["trials", "."], "is a folder"),
        (["best", "empty.db", "-f", "xml"], "/ '-f': 'xml' is not one of"),
        (["status", ""], "STORAGE is empty"),
        (["dashboard", "nowhere.db"], "there is no file nowhere.db"),
        (["dashboard", "empty.db", "--host", "0.0.0.0"], "has no login"),
    ],
)
def test_wrong_arguments_are_named(tmp_path: Path, arguments: list[str], said: str) -> None:
    write(tmp_path)
    (tmp_path / "text.db").write_text("this is no database, and long enough to tell")
    (tmp_path / "empty.db").touch()
    done = lyapopt(tmp_path, *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_message_is_as_wide_as_the_terminal_and_an_excerpt_stays_above_its_caret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "40")
    excerpt = f"    3 | {'x' * 60}: 1\n      | {' ' * 60}^"
    lines = fitted(f"{'a word ' * 20}\n{excerpt}\n      {'advice ' * 9}", Terminal()).split("\n")
    assert "\n".join(lines[-4:-2]) == excerpt
    assert all(len(line) <= 40 for line in lines[:-4] + lines[-2:])
    assert lines[-1].startswith("      advice")


def test_a_build_function_that_raises_fails_its_trials_and_is_told(tmp_path: Path) -> None:
    write(tmp_path, OWN_STUDY)
    write(
        tmp_path,
        OWN_TASK.replace("model = ", "raise ValueError('no data')\n    model = "),
        "own_task.py",
    )
    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 3
    assert "there is no completed trial" in done.stdout
    assert "ValueError: no data" in done.stdout
    assert "--fresh" in done.stdout
    assert "Traceback" not in done.stderr
    assert [trial["state"] for trial in trials(tmp_path)] == ["failed"] * 3

    best = lyapopt(tmp_path, "best", "study.db")
    assert (best.returncode, best.stdout) == (3, "")
    write(tmp_path, OWN_TASK, "own_task.py")
    mended = lyapopt(tmp_path, "run", "study.yaml", "--extra", "2")
    assert mended.returncode == 0, mended.stderr
    states = [trial["state"] for trial in trials(tmp_path)]
    assert states == ["failed"] * 3 + ["complete"] * 2


def test_a_loss_that_is_not_a_number_fails_its_trial(tmp_path: Path) -> None:
    write(tmp_path, OWN_STUDY.replace("n_trials: 3", "n_trials: 1"))
    write(
        tmp_path,
        OWN_TASK.replace("x = ", "nn.init.constant_(model.weight, float('nan'))\n    x = "),
        "own_task.py",
    )
    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 3
    assert "the loss before the first step is nan" in done.stdout
    [trial] = trials(tmp_path)
    assert trial["state"] == "failed"
    assert trial["reason"] == "the loss before the first step is nan"


def test_a_module_that_is_missing_is_named_before_anything_is_written(tmp_path: Path) -> None:
    write(tmp_path, OWN_STUDY)
    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 2
    assert "own_task" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_storage_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    write(tmp_path, STUDY.replace("sqlite:///", "sqlite:///study.yaml/"))
    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 2
    assert f"storage sqlite:///{tmp_path / 'study.yaml' / 'study.db'}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_storage_that_is_no_database_is_left_as_it_is(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "study.db").write_text("my notes")
    done = lyapopt(tmp_path, "run", "study.yaml")
    assert done.returncode == 2
    assert "not an SQLite database" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "study.db").read_text() == "my notes"


@pytest.mark.slow  # it waits for the two minutes that a run waits for a lock
def test_a_locked_database_is_said_to_be_locked_and_serves_later(tmp_path: Path) -> None:
    write(tmp_path, STUDY.replace("study.db", "study.db?timeout=1"))
    with contextlib.closing(sqlite3.connect(tmp_path / "study.db")) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = lyapopt(tmp_path, "run", "study.yaml", "--set", "n_trials=1")
    assert done.returncode == 2
    assert "locked" in done.stderr
    assert "Traceback" not in done.stderr
    run_here(tmp_path, "n_trials=4")
    assert len(trials(tmp_path)) == 4


def test_an_unexpected_error_is_one_line_and_debug_shows_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**options: object) -> float:
        return 1 / 0

    assert run_reporting_failures(broken) == 1
    shown = capsys.readouterr().err
    assert "error: ZeroDivisionError: division by zero" in shown
    assert "Traceback" not in shown
    assert "--debug" in shown
    monkeypatch.setenv("LYAPOPT_DEBUG", "1")
    assert run_reporting_failures(broken) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown
    assert "return 1 / 0" in shown
