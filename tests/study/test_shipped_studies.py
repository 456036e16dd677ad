"""Every study file that ships runs as it is."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest

from lyapopt.store import TrajectoryStore
from lyapopt.study.file import load_study_file

STUDIES = Path(__file__).parents[2] / "studies"
CI_TOO = {"xor.yaml"}


def lyapopt(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "lyapopt", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.name)
def test_a_shipped_study_is_valid(path: Path) -> None:
    assert load_study_file(path).n_trials


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, id=path.name, marks=[pytest.mark.ci] if path.name in CI_TOO else [])
        for path in sorted(STUDIES.glob("*.yaml"))
    ],
)
def test_a_shipped_study_runs_in_full_and_then_goes_on_as_asked(path: Path, tmp_path: Path) -> None:
    file = load_study_file(path)
    assert file.n_trials is not None
    lyapopt(tmp_path, "run", str(path))
    assert "nothing to do" in lyapopt(tmp_path, "run", str(path))
    lyapopt(tmp_path, "run", str(path), "--extra", "5")
    storage = file.storage.replace("sqlite:///", f"sqlite:///{tmp_path}/")
    study = optuna.load_study(study_name=file.study_name, storage=storage)
    assert len(study.trials) == file.n_trials + 5
    with TrajectoryStore(storage, create=False) as store:
        assert len(store.runs(file.study_name)) == file.n_trials + 5
        best = study.best_trial
        assert len(store.array("loss", file.study_name, best.number)) == file.task.options["steps"]
