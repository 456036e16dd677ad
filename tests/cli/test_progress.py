"""What a running study looks like on a terminal, drawn on consoles of several sizes."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from command_line import STUDY, command, environment, write
from rich.console import Console

from lyapopt.cli.live import LiveListener
from lyapopt.cli.progress import LineListener
from lyapopt.cli.running import listener_for
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.run.events import RunningTrial, StudyListener
from lyapopt.study.run.runner import run_study
from lyapopt.web.following import Following


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFile:
    monkeypatch.chdir(tmp_path)
    return load_study_file(tmp_path / write(tmp_path))


def console(width: int, **options: object) -> Console:
    return Console(file=io.StringIO(), width=width, height=24, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize("width", [40, 60, 100])
def test_the_live_table_fits_and_shows_the_newest_trials(file: StudyFile, width: int) -> None:
    screen = console(width, force_terminal=True)
    listener = LiveListener(file, screen)
    with listener:
        run_study(file, listener)
    plain = console(width)
    plain.print(listener._render())
    assert isinstance(plain.file, io.StringIO)
    lines = plain.file.getvalue().splitlines()
    assert all(len(line.rstrip()) <= width for line in lines)
    text = "\n".join(lines)
    assert "8/8 trials" in text
    assert re.search(r"best +trial \d", text)
    assert re.search(r"verdict", text)
    assert re.search(r"^ *7 ", text, re.MULTILINE)


@dataclass
class Training:
    number: int
    steps: int
    loss: float | None = None
    exponent: float | None = None
    verdict: str | None = None
    is_running: bool = True
    params: dict[str, object] = field(default_factory=lambda: {"lr": 0.25, "init_seed": 12345678})


@pytest.mark.parametrize("width", [40, 60, 100])
def test_trials_of_a_running_group_are_shown_with_step_loss_exponent_and_verdict(
    file: StudyFile, width: int
) -> None:
    listener = LiveListener(file, console(width, force_terminal=True))
    listener.group_started([0, 1, 2])
    ended = Training(2, 8, 9.5, 0.5, "hot", is_running=False)
    listener.training([Training(0, 30, 0.125, -0.75, "edge"), Training(1, 7), ended])
    plain = console(width)
    plain.print(listener._render())
    assert isinstance(plain.file, io.StringIO)
    text = plain.file.getvalue()
    assert all(len(line.rstrip()) <= width for line in text.splitlines())
    assert re.search(r"^ +0 +30 +0\.125 +-0\.75 +edge", text, re.MULTILINE)
    assert re.search(r"^ +1 +7 ", text, re.MULTILINE)
    assert "hot" not in text
    assert "1234" not in text


def test_a_run_lets_its_trials_be_looked_at_while_they_train(file: StudyFile) -> None:
    class Watching(StudyListener):
        def __init__(self) -> None:
            self.groups: list[Sequence[RunningTrial]] = []

        def training(self, trials: Sequence[RunningTrial]) -> None:
            assert all(trial.is_running and trial.steps == 0 for trial in trials)
            self.groups.append(trials)

    listener = Watching()
    run_study(file, Following(listener, file))  # as `lyapopt run` does
    seen = [trial for group in listener.groups for trial in group]
    assert [trial.number for trial in seen] == list(range(8))
    assert all(trial.steps >= 8 and trial.exponent is not None for trial in seen)
    assert all(trial.loss is not None for trial in seen)


def test_a_resumed_study_counts_what_it_had(file: StudyFile) -> None:
    run_study(file)
    listener = LiveListener(file, console(80, force_terminal=True))
    with listener:
        run_study(file, listener, extra=1)
    plain = console(80)
    plain.print(listener._render())
    assert isinstance(plain.file, io.StringIO)
    assert "9/9 trials" in plain.file.getvalue()


def test_the_listener_follows_the_terminal_the_file_and_quiet(file: StudyFile) -> None:
    terminal, pipe = console(80, force_terminal=True), console(80)
    assert isinstance(listener_for(file, terminal, quiet=False), LiveListener)
    assert isinstance(listener_for(file, pipe, quiet=False), LineListener)
    for quiet in (listener_for(file, terminal, quiet=True), listener_for(file, pipe, quiet=True)):
        assert not isinstance(quiet, LiveListener | LineListener)
    file.output.__dict__["progress"] = "lines"
    assert isinstance(listener_for(file, terminal, quiet=False), LineListener)
    file.output.__dict__["progress"] = "none"
    assert not isinstance(listener_for(file, terminal, quiet=False), LiveListener | LineListener)


@pytest.mark.slow
def test_without_colour_a_terminal_gets_no_colour(tmp_path: Path) -> None:
    write(tmp_path, STUDY)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command("run", "study.yaml", "--set", "n_trials=4"),
        cwd=tmp_path,
        env=environment(NO_COLOR="1", TERM="xterm-256color", COLUMNS="60", LINES="24"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs,
    )
    os.close(theirs)
    drawn = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        drawn += part
    out, _ = process.communicate(timeout=300)
    os.close(ours)
    assert process.returncode == 0, drawn.decode()
    assert b"4/4 trials" in drawn or b"0/4 trials" in drawn
    assert not re.search(rb"\x1b\[[0-9;]*3[0-7]m", drawn)
    assert b"all 4 trials are done" in out
    assert b"\x1b" not in out
