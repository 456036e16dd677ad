"""`warm_start`: a sampler begins with trials of another study, and nothing else sees them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.samplers import BaseSampler, GPSampler, TPESampler

from lyapopt.cli.running import Options, run_study_file
from lyapopt.errors import UserError
from lyapopt.search._optuna import begin_with, earlier_trials, ordered
from lyapopt.space import FloatParameter
from lyapopt.study.analysis.overview import load_study
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.file.document import StudyFileError
from lyapopt.study.run import earlier
from lyapopt.study.run.assembly import search_space
from lyapopt.study.run.preview import preview
from lyapopt.study.run.runner import run_study

SPACE: dict[str, BaseDistribution] = {
    "lr": FloatDistribution(1e-3, 10.0, log=True),
    "activation": CategoricalDistribution(["tanh", "relu"]),
}
COUNT = 14


def found(count: int = COUNT) -> list[tuple[dict[str, Any], list[float]]]:
    return [
        ({"lr": 10 ** (k / 5 - 2), "activation": "tanh" if k % 3 else "relu"}, [abs(k - 8.0)])
        for k in range(count)
    ]


def other_study(url: str, count: int = COUNT, **directions: Any) -> optuna.Study:
    study = optuna.create_study(storage=url, study_name="old", **directions)
    for params, values in found(count):
        study.add_trial(
            optuna.trial.create_trial(params=params, distributions=SPACE, values=values)
        )
    return study


def file_of(tmp_path: Path, **keys: Any) -> StudyFile:
    given = {
        "storage": f"sqlite:///{tmp_path}/new.db",
        "study_name": "new",
        "task": {"name": "xor", "steps": 20},
        "search_space": {
            "lr": {"type": "float", "low": 1e-3, "high": 10.0, "log": True},
            "activation": ["tanh", "relu"],
        },
        "probe": {"horizon": 5},
        "sampler": "tpe",
        "pruner": "none",
        "trials_at_once": 1,
        "warm_start": f"sqlite:///{tmp_path}/old.db#old",
        "n_trials": 3,
    }
    return StudyFile(**{name: v for name, v in {**given, **keys}.items() if v is not None})


def params_of(file: StudyFile) -> list[dict[str, Any]]:
    study = optuna.load_study(study_name=file.study_name, storage=file.storage)
    return [trial.params for trial in study.trials]


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: TPESampler(seed=1),
        lambda: TPESampler(seed=1, multivariate=True),
        lambda: TPESampler(seed=1, multivariate=True, group=True),
        lambda: GPSampler(seed=1),
    ],
)
def test_a_sampler_draws_what_it_would_if_they_were_trials_of_the_study(
    make: Callable[[], BaseSampler],
) -> None:
    added = optuna.create_study(sampler=make())
    for params, values in found():
        added.add_trial(
            optuna.trial.create_trial(params=params, distributions=SPACE, values=values)
        )
    begun = ordered(optuna.create_study(sampler=make()))
    begin_with(begun, earlier_trials(found(), SPACE))
    for value in (0.5, 3.0, 0.1):
        trials = added.ask(SPACE), begun.ask(SPACE)
        assert trials[0].params == trials[1].params
        added.tell(trials[0], value)
        begun.tell(trials[1], value)
    assert [trial.number for trial in begun.trials] == [0, 1, 2]


def test_they_are_none_of_the_studys_own(tmp_path: Path) -> None:
    other_study(f"sqlite:///{tmp_path}/old.db")
    file = file_of(tmp_path)
    run_study(file)
    study = load_study(file.storage, "new")
    assert [trial.number for trial in study.trials] == [0, 1, 2]
    assert params_of(file)[0] == preview(file).configurations[0]


def test_the_other_study_may_change_or_go_once_the_study_has_begun(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    other_study(url)
    whole = file_of(tmp_path, storage=f"sqlite:///{tmp_path}/whole.db", n_trials=5)
    run_study(whole)
    run_study(file_of(tmp_path, n_trials=2))
    optuna.delete_study(study_name="old", storage=url)
    run_study(file_of(tmp_path, n_trials=5))
    assert params_of(file_of(tmp_path)) == params_of(whole)
    cold = file_of(tmp_path, storage=f"sqlite:///{tmp_path}/cold.db", warm_start=None, n_trials=5)
    run_study(cold)
    assert params_of(cold) != params_of(whole)


def test_only_what_fits_the_search_space_is_taken(tmp_path: Path) -> None:
    other_study(f"sqlite:///{tmp_path}/old.db")
    narrow = {
        "lr": FloatParameter(low=0.05, high=1.0, log=True),
        "init_seed": {"type": "seed"},
    }
    task = {"name": "xor", "steps": 20, "activation": "tanh"}
    file = file_of(tmp_path, search_space=narrow, task=task)
    taken = earlier.read(file, search_space(file))
    expected = [
        ({"lr": params["lr"]}, values)
        for params, values in found()
        if 0.05 <= params["lr"] <= 1.0 and params["activation"] == "tanh"
    ]
    assert taken == expected


def test_many_are_kept_in_parts_and_the_last_ones_are_taken(tmp_path: Path) -> None:
    study, space = optuna.create_study(), _space(tmp_path)
    many = [({"lr": 0.1 + k / 1000, "activation": "relu"}, [float(k)]) for k in range(120)]
    earlier.keep(study, many)
    kept = earlier.kept_trials(study, space)
    assert [(trial.params, trial.values) for trial in kept] == many
    assert [trial.number for trial in kept] == list(range(-120, 0))


def _space(tmp_path: Path) -> Any:
    return search_space(file_of(tmp_path))


def test_what_cannot_be_begun_with_is_refused_and_leaves_no_study(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/old.db"
    with pytest.raises(UserError, match=r"warm_start: .*old\.db"):
        run_study(file_of(tmp_path))
    other_study(url, direction="maximize")
    with pytest.raises(UserError, match=r"directions \['maximize'\]"):
        run_study(file_of(tmp_path))
    with pytest.raises(UserError, match="no study 'older'"):
        run_study(file_of(tmp_path, warm_start=f"{url}#older"))
    optuna.delete_study(study_name="old", storage=url)
    other_study(url, count=0)
    with pytest.raises(UserError, match="none of the 0 completed trials"):
        run_study(file_of(tmp_path))
    assert optuna.get_all_study_names(file_of(tmp_path).storage) == []


def test_a_study_is_not_deleted_for_one_that_cannot_begin(tmp_path: Path) -> None:
    other_study(f"sqlite:///{tmp_path}/old.db")
    file = file_of(tmp_path)
    run_study(file)
    before = params_of(file)
    options = Options(tmp_path / "study.yaml", (), 0.0, fresh=True, yes=True)
    for gone in (f"sqlite:///{tmp_path}/nothing.db#old", f"{file.storage}#new"):
        with pytest.raises(UserError, match="warm_start"):
            run_study_file(file_of(tmp_path, warm_start=gone), options)
    assert params_of(file) == before


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("warm_start: sqlite:///old.db", "the name of the study is missing"),
        ("warm_start: old.db#a", "a storage is a URL, not a path"),
        ("warm_start: 3", "expected STORAGE#NAME"),
        ("warm_start: sqlite:///old.db#a\nsampler: random", "RandomSampler learns nothing"),
    ],
)
def test_a_mistake_in_it_is_shown_at_its_place(tmp_path: Path, line: str, message: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(
        "storage: sqlite:///a.db\ntask: {name: xor}\nn_trials: 3\n"
        "search_space: {lr: {type: float, low: 0.1, high: 1.0}}\n" + line + "\n"
    )
    with pytest.raises(StudyFileError, match=message) as caught:
        load_study_file(path)
    assert "study.yaml:5:" in str(caught.value)


def test_a_dry_run_says_where_a_study_is_named_that_is_gone_and_needs_none_once_it_has_begun(
    run: Callable[..., tuple[int, str, str]],
) -> None:
    text = (
        "storage: sqlite:///new.db\ntask: {name: xor, steps: 20}\n"
        "n_trials: 1\nprobe: {horizon: 5}\n"
        "search_space:\n  lr: {type: float, low: 0.001, high: 10.0, log: true}\n"
        "  activation: [tanh, relu]\nwarm_start: sqlite:///old.db#old\n"
    )
    Path("study.yaml").write_text(text)
    for command in (("run", "study.yaml", "--dry-run"), ("run", "study.yaml", "-q")):
        code, out, err = run(*command)
        assert (code, out) == (2, "")
        assert "study.yaml:8:13: warm_start: " in err
        assert "old.db" in err
    other_study("sqlite:///old.db")
    assert run("run", "study.yaml", "-q")[0] == 0
    Path("old.db").unlink()
    code, out, err = run("run", "study.yaml", "--dry-run")
    assert code == 0
    assert "warning: study.yaml:8:13: warm_start: " in err
    assert f"needs it no longer: it began with {COUNT} trials of then" in err
    assert "the first" in out
