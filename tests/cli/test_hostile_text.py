"""Names, choices and errors that hold control characters reach no terminal raw, by any command."""

from __future__ import annotations

import csv
import io
import json
import logging
import os
from pathlib import Path

import optuna
import pytest
from command_line import OWN_STUDY, OWN_TASK, Run, write
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState, create_trial
from rich.console import Console
from ruamel.yaml import YAML

from lyapopt.cli import logs
from lyapopt.cli.live import LiveListener
from lyapopt.cli.progress import LineListener, NoteListener
from lyapopt.store import RUN_ATTRIBUTE, RunRecord, TrajectoryStore, new_run_id
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.run.events import StudyEvent
from lyapopt.study.run.ledger import Ledger

STEERING = "\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u2066\x85\u2028\nerror: forged"
ESCAPED = r"\x1b[2J\x1b]0;title\x07\r\x9b31m\u202e\u2066\x85\u2028\nerror: forged"
STUDY = f"study {STEERING}[/red]:boom:"
NAME = f"p{STEERING}[bold]"
CHOICE = f"c{STEERING}[/]:boom:"
VERDICT = f"v{STEERING}"
REASON = f"ValueError: {STEERING}" + "x" * 1_000_000


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A study of a complete, a failed and a running trial, hostile in whatever can be text."""
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = optuna.create_study(study_name=STUDY, storage=url)
    space = {NAME: CategoricalDistribution([CHOICE])}
    runs = [new_run_id(), new_run_id()]
    for run, state, values in zip(
        runs, (TrialState.COMPLETE, TrialState.FAIL), ([0.5], None), strict=True
    ):
        attributes = {RUN_ATTRIBUTE: run, "verdict": VERDICT, "gradient_evaluations": 7}
        study.add_trial(
            create_trial(
                state=state,
                values=values,
                params={NAME: CHOICE},
                distributions=space,
                user_attrs=attributes,
            )
        )
    study.enqueue_trial({NAME: CHOICE})
    study.ask(space)
    with TrajectoryStore(url) as store:
        store.record(RunRecord(runs[0], STUDY, 0, "complete", values=(0.5,)))
        store.record(RunRecord(runs[1], STUDY, 1, "failed", reason=REASON))
    return "study.db"


def assert_tame(*texts: str, longest: int = 5_000) -> None:
    """No text steers a terminal, forges a line or fills the screen."""
    for text in texts:
        assert [c for c in text if (c not in "\n\t" and ord(c) < 32) or 0x7F <= ord(c) < 0xA0] == []
        assert not set("\u202e\u2066\u2028") & set(text)
        assert "\nerror: forged" not in text
        assert len(text) < longest


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["status", "study.db"], [ESCAPED, "1,000,0", "whole: lyapopt trials -f json"]),
        (["trials", "study.db"], [rf"p{ESCAPED}[bold]", rf"c{ESCAPED}[/]:boom:", "1,000,0"]),
        (
            ["best", "study.db"],
            [rf"v{ESCAPED}", r"\x9b31m\u202e\u2066\x85\u2028\nerror: forged[/]:boom:"],
        ),
        (["storage", "doctor", "study.db", "--deep"], [ESCAPED]),
        (["storage", "gc", "study.db"], ["0 runs"]),
        (["storage", "upgrade", "study.db"], ["our tables"]),
        (["storage", "export", "study.db", "-o", f"{STEERING}.db"], [ESCAPED]),
    ],
)
def test_what_is_stored_is_shown_escaped(
    run: Run, database: str, arguments: list[str], shown: list[str]
) -> None:
    code, out, err = run(*arguments)
    assert code == 0, err
    assert_tame(out, err)
    for text in shown:
        assert text in out


@pytest.mark.parametrize("command", ["trials", "best"])
def test_formats_for_programs_hold_the_exact_data(run: Run, database: str, command: str) -> None:
    _, as_json, _ = run(command, database, "-f", "json")
    _, as_yaml, _ = run(command, database, "-f", "yaml")
    _, as_csv, _ = run(command, database, "-f", "csv")
    documents = [json.loads(as_json), YAML(typ="safe").load(as_yaml)]
    for found in documents:
        rows = found if isinstance(found, list) else [found]
        assert rows[0]["params"] == {NAME: CHOICE}
        assert rows[0]["verdict"] == VERDICT
        if command == "trials":
            assert rows[1]["reason"] == REASON
    csv.field_size_limit(10**7)
    row = next(iter(csv.DictReader(io.StringIO(as_csv, newline=""))))
    assert row[f"params_{NAME}"] == CHOICE
    assert_tame(as_yaml, longest=10**7)


@pytest.mark.parametrize(
    "arguments",
    [
        ["status", "study.db", "--study", STUDY + "!"],
        ["status", f"nowhere{STEERING}.db"],
        ["status", f"sqlite:///nowhere{STEERING}.db"],
        ["best", f"postgresql+none://me@host/{STEERING}"],
        ["trials", "study.db", "-f", STEERING],
        ["trials", f"--{STEERING}"],
        [STEERING],
        ["run", f"nowhere{STEERING}.yaml"],
        ["validate", f"nowhere{STEERING}.yaml"],
        ["validate", "study.yaml", "--set", f"study_name={STEERING}"],
        ["validate", "study.yaml", "--set", f"sampler.name={STEERING}"],
        ["storage", "init", f"x{STEERING}"],
        ["storage", "doctor", f"{STEERING}://x"],
        ["storage", "export", "study.db", "-o", f"{STEERING}.db"],
        ["storage", "export", "study.db", "-f", "csv", "-o", f"{STEERING}.db"],
        ["dashboard", f"nowhere{STEERING}.db"],
        ["dashboard", "study.db", "--host", STEERING],
        ["bench", "speed", "--task", STEERING],
    ],
)
def test_errors_show_what_was_typed_escaped(run: Run, database: str, arguments: list[str]) -> None:
    Path("study.yaml").write_text(OWN_STUDY)
    Path(f"{STEERING}.db").touch()
    code, out, err = run(*arguments)
    assert code != 0
    assert err
    assert_tame(out, err)


def test_one_of_several_studies_is_asked_for_with_names_that_are_escaped(
    run: Run, database: str
) -> None:
    optuna.create_study(study_name=STUDY + "2", storage="sqlite:///study.db")
    code, out, err = run("status", database)
    assert code == 2
    assert err.count(ESCAPED) == 2
    assert_tame(out, err)


def test_a_control_character_in_a_study_file_is_escaped_with_the_caret_below_its_place(
    run: Run,
) -> None:
    Path("study.yaml").write_text(OWN_STUDY + 'sampler: {"\u202e\u2066": 1, name: nothing}\n')
    code, _, err = run("validate", "study.yaml")
    assert code == 2
    assert_tame(err)
    lines = err.splitlines()
    carets = [
        lines[k - 1][line.index("^") :] for k, line in enumerate(lines) if line.strip(" |") == "^"
    ]
    assert any(text.startswith("nothing") for text in carets), err


@pytest.mark.parametrize("progress", ["lines", "none"])
def test_a_run_whose_build_function_raises_prints_little_and_says_where_the_whole_is(
    run: Run, progress: str
) -> None:
    text = repr(STEERING + "x" * 1_000_000)
    Path("hostile_task.py").write_text(
        OWN_TASK.replace("model = ", f"raise ValueError({text})\n    model = ")
    )
    name = json.dumps(STUDY)
    Path("study.yaml").write_text(
        OWN_STUDY.replace("study_name: own", f"study_name: {name}")
        .replace("own_task", "hostile_task")
        .replace("lr:", json.dumps(NAME) + ":")
        .replace("{horizon: 4}", f"{{horizon: 4}}\noutput: {{progress: {progress}}}")
    )
    dry = run("run", "study.yaml", "--dry-run")
    assert dry[0] == 1
    assert_tame(*dry[1:], longest=10_000)
    assert run("validate", "study.yaml")[0] == 0
    code, out, err = run("run", "study.yaml")
    assert code == 3, err
    assert_tame(out, err)
    assert r"\x1b" in out
    assert "characters; whole: lyapopt trials -f json" in out
    assert ("characters; whole: lyapopt trials -f json" in err) == (progress == "lines")
    _, whole, _ = run("trials", "study.db", "-f", "json")
    assert "x" * 1_000_000 in json.loads(whole)[0]["reason"]


def own_file(folder: Path) -> StudyFile:
    text = OWN_STUDY.replace("study_name: own", f"study_name: {json.dumps(STUDY)}")
    (folder / "own_task.py").write_text(OWN_TASK)
    return load_study_file(folder / write(folder, text))


def test_listeners_show_notes_and_trials_escaped_and_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = own_file(tmp_path)
    trial = create_trial(
        value=0.5,
        params={NAME: CHOICE},
        distributions={NAME: CategoricalDistribution([CHOICE])},
        user_attrs={"verdict": VERDICT},
    )
    for make in (
        NoteListener,
        lambda console: LineListener(file, console),
        lambda console: LiveListener(file, console),
    ):
        console = Console(file=io.StringIO(), width=2000, height=40)
        listener = make(console)
        listener.note(REASON)
        if isinstance(listener, LineListener):
            listener.started(StudyEvent(STUDY, 3, Ledger(frozenset(), {}, 0, 0.0)))
        listener.finished(trial, REASON)
        if isinstance(listener, LiveListener):
            console.print(listener._render())
        assert isinstance(console.file, io.StringIO)
        text = console.file.getvalue()
        assert_tame(text, longest=20_000)
        assert "1,000,0" in text
        if type(listener) is not NoteListener:
            assert rf"c{ESCAPED}[/]:boom:" in text
            assert rf"study {ESCAPED}[/red]:boom:" in text


def test_log_lines_and_warnings_are_escaped_and_short(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("warning")
    logging.getLogger("lyapopt.x").warning("trial %d: %s", 1, STEERING.replace("\n", ""))
    logging.getLogger("lyapopt.x").warning(REASON.replace("\n", ""))
    logging.getLogger("py.warnings").warning("%s", STEERING.replace("\n", ""))
    logging.captureWarnings(False)
    _, err = capsys.readouterr()
    assert_tame(err)
    assert "characters)" in err
    assert err.count(ESCAPED.replace(r"\n", "")) == 3


def test_a_traceback_that_was_asked_for_is_whole_and_escaped(
    run: Run, monkeypatch: pytest.MonkeyPatch, database: str
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError(STEERING.replace("\n", "") + "x" * 3000)

    monkeypatch.setattr("lyapopt.cli.target.stored_study", broken)
    code, _, err = run("trials", database)
    assert code == 1
    assert_tame(err)
    assert "whole: lyapopt --debug ...)" in err
    monkeypatch.setitem(os.environ, "LYAPOPT_DEBUG", "1")
    _, _, err = run("trials", database)
    assert_tame(err, longest=20_000)
    assert "x" * 3000 in err
