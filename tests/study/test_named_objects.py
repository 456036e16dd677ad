"""What a study file names by import paths is found, or missed with its place, without importing."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lyapopt.errors import UserError
from lyapopt.study.file import StudyFileError, load_study_file
from lyapopt.study.run.runner import run_study

Run = Callable[..., tuple[int, str, str]]

STUDY = """study_name: named
storage: sqlite:///a.db
task: {task}
search_space: {{lr: {{type: float, low: 0.01, high: 5.0, log: true}}}}
sampler: {sampler}
callbacks: [{callbacks}]
on_failure: {{catch: [RuntimeError, "torch:OutOfMemoryError"]}}
n_trials: 4
"""
OWN = """raise RuntimeError("nobody imports this")
from math import hypot as length
if True:
    def notify(study, trial): ...
class Sampler: ...
limit = 3
"""


def written(
    folder: Path, callbacks: str, task: str = "{name: xor}", sampler: str = "random"
) -> Path:
    (folder / "own_names.py").write_text(OWN)
    (folder / "dynamic_names.py").write_text("globals()['f'] = print")
    (folder / "broken_names.py").write_text("\ndef f(:")
    (path := folder / "study.yaml").write_text(
        STUDY.format(task=task, sampler=sampler, callbacks=callbacks)
    )
    return path


@pytest.mark.parametrize(
    ("callbacks", "said"),
    [
        ("^nowhere.mod:f", "there is no module nowhere"),
        ("own_names:notify, ^own_name:f", "there is no module own_name"),
        ("^own_names:notfy", "there is no notfy in own_names"),
        ("^broken_names:f", "broken_names.py:2: invalid syntax"),
        ("^own_names.inner:f", "there is no module own_names.inner"),
        ("^lyapopt.nowhere:f", "there is no module lyapopt.nowhere"),
    ],
)
def test_what_is_not_there_is_said_with_its_place(
    callbacks: str, said: str, tmp_path: Path
) -> None:
    path = written(tmp_path, callbacks.replace("^", ""))
    with pytest.raises(StudyFileError) as caught:
        load_study_file(path, named_objects=True)
    [issue] = caught.value.issues
    assert said in issue.message
    assert issue.mark is not None
    assert (issue.mark.line, issue.mark.column) == (5, 12 + callbacks.index("^"))
    load_study_file(path)  # a run imports it anyhow, and says so


def test_what_may_be_there_is_not_missed_and_nothing_is_imported(tmp_path: Path) -> None:
    names = "own_names:notify, own_names:length, own_names:limit, dynamic_names:f, math:sqrt, "
    names += "os.path:join, numpy.random:default_rng, optuna.samplers:TPESampler"
    before = list(sys.path)
    load_study_file(written(tmp_path, names), named_objects=True)
    assert sys.path == before
    assert not {"own_names", "dynamic_names"} & {*sys.modules}


def test_what_is_there_and_of_another_kind_is_said_with_its_place_by_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a run locks a file beside its storage, which stays there
    path = written(tmp_path, "math:hypot, math:pi")
    with pytest.raises(UserError, match=r"study.yaml:6:25: callbacks\[1\]: math:pi is not a func"):
        run_study(load_study_file(path))
    path.write_text(path.read_text().replace("torch:OutOfMemoryError", "math:hypot"))
    with pytest.raises(UserError, match=r"study.yaml:7:36: .*catch\[1\]: math:hypot is no exc"):
        run_study(load_study_file(path, ["callbacks=[]"]))
    path.write_text(path.read_text().replace("math:hypot", "nowhere:Error"))
    with pytest.raises(
        StudyFileError, match=r"study.yaml:7:36: on_failure.catch\[1\]: there is no"
    ):
        load_study_file(path, ["callbacks=[]"], named_objects=True)


def test_validate_finds_all_of_them_at_once(run: Run, tmp_path: Path) -> None:
    path = written(
        Path.cwd(), "own_names:no", "{build: own_names:build}", "{name: 'own_names:Sampled'}"
    )
    for command in (("validate", path.name), ("run", path.name, "--dry-run")):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        for place in ("3:15: task.build", "5:17: sampler.name", "6:13: callbacks[0]"):
            assert f"study.yaml:{place}: there is no" in err
        assert "did you mean Sampler?" in err
        assert "3 mistakes" in err
