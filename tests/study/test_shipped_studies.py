"""Every study file that ships runs as it is."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from lyapopt.store import TrajectoryStore
from lyapopt.study.file import BuiltinTask, CustomTask, StudyFile, load_study_file
from lyapopt.study.run.choices import with_choices
from lyapopt.study.run.runner import run_study
from lyapopt.tasks.catalogue import TASKS

STUDIES = Path(__file__).parents[2] / "studies"
FILES = sorted(STUDIES.glob("*.yaml"))
CI_TOO = {"xor.yaml"}


def requirements(path: Path, request: pytest.FixtureRequest) -> list[str]:
    """Skip what needs a package that is not here; the overrides that give it a server."""
    task = load_study_file(path).task
    if isinstance(task, BuiltinTask) and TASKS[task.name].package is not None:
        pytest.importorskip(str(TASKS[task.name].package))
    if "postgresql" not in path.name:
        return []
    return [f"storage={request.getfixturevalue('postgresql_url')}"]


def steps_of(file: StudyFile) -> int:
    """Steps that a completed trial of a study has."""
    if file.value == "exponent":
        return file.probe.horizon
    if file.rank_at is not None:
        return file.rank_at
    if isinstance(file.task, CustomTask):
        return int(file.task.kwargs["steps"])
    assert isinstance(file.task, BuiltinTask)
    return int(file.task.params()["steps"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_study_says_what_it_shows_and_runs_shortened(
    path: Path, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = path.read_text()
    assert text.startswith("# yaml-language-server: $schema=./study.schema.json\n#\n# ")
    assert f"#   lyapopt run studies/{path.name}" in text
    file = load_study_file(path)
    is_own = isinstance(file.task, CustomTask)
    shorter = ["n_trials=3", f"task.{'kwargs.steps' if is_own else 'steps'}=25"]
    shorter += ["rank_at=22"] * (file.rank_at is not None) + ["promote=1"] * bool(file.promote)
    monkeypatch.chdir(tmp_path)
    file = load_study_file(path, [*shorter, *requirements(path, request)])
    result = run_study(file)
    assert len(result.ledger.done) == 3
    assert not result.ledger.states["failed"]
    assert (result.promoted is not None) == bool(file.promote)
    with TrajectoryStore(file.storage, create=False) as store:
        assert len(store.runs(file.study_name)) == 3
        trials = [trial for tries in result.ledger.tries.values() for trial in tries]
        for trial in (trial for trial in trials if trial.state.name == "COMPLETE"):
            assert len(store.array("loss", file.study_name, trial.number)) == steps_of(file)


def test_every_study_is_in_the_table_with_what_it_took() -> None:
    rows = (STUDIES / "README.md").read_text()
    listed = re.findall(r"^\| \[(\w+\.yaml)\]\((\w+\.yaml)\) \|(.*)\|(.*)\|(.*)\|$", rows, re.M)
    assert sorted(name for name, *_ in listed) == [path.name for path in FILES]
    assert all(name == link and shows.strip() for name, link, shows, *_ in listed)
    assert all(re.search(r"\d", seconds) and result.strip() for *_, seconds, result in listed)
    assert len(FILES) >= 10


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.ci] if path.name in CI_TOO else [])
        for path in FILES
    ],
)
def test_a_shipped_study_runs_in_full_and_then_goes_on_as_asked(
    path: Path, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    sets = [part for text in requirements(path, request) for part in ("--set", text)]
    file, _ = with_choices(load_study_file(path, sets[1::2]))
    assert file.n_trials is not None

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "lyapopt", "run", str(path), *sets, *arguments]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run()
    assert "nothing to do" in run()
    run("--extra", "5")
    storage = file.storage.replace("sqlite:///", f"sqlite:///{tmp_path}/")
    study = optuna.load_study(study_name=file.study_name, storage=storage)
    more = len(study.trials) - file.n_trials
    assert more == 5 or (file.budget is not None and 0 < more < 5)  # as far as it pays
    with TrajectoryStore(storage, create=False) as store:
        assert len(store.runs(file.study_name)) == len(study.trials)
        best = study.best_trial
        assert len(store.array("loss", file.study_name, best.number)) == steps_of(file)
    shutil.rmtree(tmp_path)
