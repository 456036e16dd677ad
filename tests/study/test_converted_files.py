"""Search spaces of other tools become study files, and what cannot is listed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lyapopt.errors import UserError
from lyapopt.study.convert.files import converted, converted_files
from lyapopt.study.convert.hydra_sweeps import hydra_sweep
from lyapopt.study.file import load_study_file

Run = Callable[..., tuple[int, str, str]]

WANDB = """\
program: train.py
name: digits sweep
method: bayes
metric: {goal: maximize, name: val_acc}
run_cap: 30
command: [python, train.py]
early_terminate: {type: hyperband, min_iter: 3, s: 2}
parameters:
  lr: {distribution: log_uniform_values, min: 0.0001, max: 0.1}
  momentum: {min: 0.0, max: 0.99}
  depth: {min: 1, max: 4}
  width: {distribution: q_uniform, min: 8, max: 64, q: 8}
  activation: {values: [relu, tanh]}
  epochs: {value: 10}
  dropout: {distribution: normal, mu: 0.2, sigma: 0.1}
  seed: {values: [1, 2, 3]}
  optimizer:
    parameters:
      name: {values: [sgd, adam], probabilities: [0.9, 0.1]}
"""

NNI = """\
experimentName: mnist
trialCommand: python mnist.py
trialConcurrency: 2
maxTrialNumber: 40
maxExperimentDuration: 1h
tuner: {name: TPE, classArgs: {optimize_mode: minimize}}
trainingService: {platform: local}
searchSpace:
  lr: {_type: loguniform, _value: [0.0001, 0.1]}
  units: {_type: choice, _value: [16, 32, 64]}
  layers: {_type: randint, _value: [1, 5]}
  dropout: {_type: quniform, _value: [0.0, 0.5, 0.1]}
  noise: {_type: normal, _value: [0, 1]}
"""

HYDRA = """\
defaults:
  - override hydra/sweeper: optuna
hydra:
  sweeper:
    sampler: {_target_: optuna.samplers.TPESampler, seed: 123, n_startup_trials: 5}
    direction: minimize
    study_name: sphere
    storage: null
    n_trials: 20
    n_jobs: 2
    max_failure_rate: 0.0
    params:
      x: interval(-5.5, 5.5)
      lr: tag(log, interval(0.001, 1))
      k: range(1, 8)
      act: choice(relu, tanh)
      z: {type: int, low: 1, high: 9, step: 2}
      steps: 300
      odd: glob(*)
x: 1
"""

EXPECTED: dict[str, dict[str, Any]] = {
    WANDB: {
        "study_name": "digits sweep",
        "storage": "sqlite:///runs/digits-sweep.db",
        "task": {"build": "train:build"},
        "search_space": {
            "lr": {"type": "float", "low": 0.0001, "high": 0.1, "log": True},
            "momentum": {"type": "float", "low": 0.0, "high": 0.99},
            "depth": {"type": "int", "low": 1, "high": 4},
            "width": {"type": "float", "low": 8, "high": 64, "step": 8},
            "activation": ["relu", "tanh"],
            "epochs": 10,
            "seed": {"type": "seed"},
            "optimizer.name": ["sgd", "adam"],
        },
        "n_trials": 30,
        "sampler": "tpe",
        "direction": "maximize",
        "value": "metric",
        "pruner": {"name": "hyperband", "min_resource": 3},
    },
    NNI: {
        "study_name": "mnist",
        "storage": "sqlite:///runs/mnist.db",
        "task": {"build": "own_network:build"},
        "search_space": {
            "lr": {"type": "float", "low": 0.0001, "high": 0.1, "log": True},
            "units": [16, 32, 64],
            "layers": {"type": "int", "low": 1, "high": 4},
            "dropout": {"type": "float", "low": 0.0, "high": 0.5, "step": 0.1},
        },
        "n_trials": 40,
        "sampler": "tpe",
        "timeout": "1h",
        "workers": 2,
    },
    HYDRA: {
        "study_name": "sphere",
        "storage": "sqlite:///runs/sphere.db",
        "seed": 123,
        "task": {"build": "own_network:build"},
        "search_space": {
            "x": {"type": "float", "low": -5.5, "high": 5.5},
            "lr": {"type": "float", "low": 0.001, "high": 1, "log": True},
            "k": {"type": "int", "low": 1, "high": 8},
            "act": ["relu", "tanh"],
            "z": {"type": "int", "low": 1, "high": 9, "step": 2},
            "steps": 300,
        },
        "n_trials": 20,
        "sampler": "tpe",
        "workers": 2,
    },
}
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5))
VALUES = st.one_of(SCALARS, st.lists(SCALARS, max_size=3), st.dictionaries(st.text(), SCALARS))
LEFT = {
    WANDB: ["command", "early_terminate.s", "dropout: normal", "seed", "probabilities", "nested"],
    NNI: ["trialCommand", "trainingService", "noise: normal"],
    HYDRA: ["sampler.n_startup_trials", "max_failure_rate", "odd", "x: no counterpart"],
}


@pytest.mark.parametrize("text", EXPECTED, ids=["wandb", "nni", "hydra"])
def test_a_file_of_another_tool_becomes_a_valid_study_and_nothing_is_dropped_silently(
    text: str, tmp_path: Path
) -> None:
    source, path = tmp_path / "sweep.yaml", tmp_path / "study.yaml"
    source.write_text(text)
    found, files = converted_files(source, path)
    written = YAML(typ="safe").load(files[path])
    assert written == {"version": 1, "seed": 0} | EXPECTED[text]
    for part in LEFT[text]:
        assert any(part in line for line in found.left), (part, found.left)
    commented = " ".join(files[path].replace("\n#  ", "").split())
    assert all(" ".join(line.split()) in commented for line in found.left)
    path.write_text(files[path])
    assert load_study_file(path).n_trials == EXPECTED[text]["n_trials"]


@pytest.mark.parametrize(
    ("text", "entry"),
    [
        # As the sweeper of Hydra makes distributions of Optuna's of them: a range has its end.
        ("range(1, 4)", {"type": "int", "low": 1, "high": 4}),
        ("range(5)", {"type": "int", "low": 0, "high": 5}),
        ("range(start=2, stop=8, step=2)", {"type": "int", "low": 2, "high": 8, "step": 2}),
        ("range(-5.5,5.5,step=0.5)", {"type": "float", "low": -5.5, "high": 5.5, "step": 0.5}),
        ("range(0.5, 5.5, step=1)", {"type": "float", "low": 0.5, "high": 5.5, "step": 1}),
        ("interval(1, 5)", {"type": "float", "low": 1, "high": 5}),
        ("int(interval(1,8))", {"type": "int", "low": 1, "high": 8}),
        ("tag(log, interval(0.1, 1))", {"type": "float", "low": 0.1, "high": 1, "log": True}),
        ("tag(log, int(interval(1, 9)))", {"type": "int", "low": 1, "high": 9, "log": True}),
        ("int(tag(log, interval(1, 9)))", {"type": "int", "low": 1, "high": 9, "log": True}),
        ("tag(int, interval(1, 8))", {"type": "int", "low": 1, "high": 8}),
        ("choice(1, 2.5, true, 'a,b', null)", [1, 2.5, True, "a,b", None]),
        ("relu, tanh", ["relu", "tanh"]),
        ("shuffle(range(1, 4))", [1, 2, 3]),
    ],
)
def test_a_sweep_of_hydra_is_what_its_optuna_sweeper_makes_of_it(text: str, entry: Any) -> None:
    left: list[str] = []
    assert hydra_sweep("x", text, left) == entry
    assert left == []


@pytest.mark.parametrize(
    ("defaults", "sweeper", "settings", "said"),
    [
        ("{override hydra/sweeper/sampler: cmaes}", "sampler: {seed: 3}", ("cma-es", None, 3), ""),
        ("{override /hydra/sweeper/sampler: random}", "n_jobs: 1", ("random", None, None), ""),
        ("{hydra/sweeper/sampler: motpe}", "n_jobs: 1", ("tpe", None, None), "motpe: tpe is in"),
        ("_self_", "sampler: nsgaii", ("nsgaii", None, None), ""),
        ("_self_", "sampler: {seed: 3}", (None, None, 3), ""),
        ("_self_", "sampler: best", (None, None, None), "sampler: best: no sampler of"),
        (
            "{override hydra/sweeper/pruner: hyperband}",
            "pruner: {min_resource: 2}",
            (None, {"name": "hyperband", "min_resource": 2}, None),
            "",
        ),
        ("_self_", "pruner: {_target_: optuna.pruners.NopPruner}", (None, "nop", None), ""),
        ("_self_", "pruner: own", (None, None, None), "pruner: own: no pruner of"),
    ],
)
def test_samplers_and_pruners_of_hydra_are_carried_over_however_they_are_chosen(
    defaults: str, sweeper: str, settings: tuple[Any, ...], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        f"defaults: [{defaults}]\nhydra: {{sweeper: {{params: {{k: 1}}, {sweeper}}}}}\n"
    )
    found = converted(path)
    assert tuple(found.settings.get(key) for key in ("sampler", "pruner", "seed")) == settings
    assert [said in line for line in found.left] == [True] * bool(said)


def test_what_values_were_rounded_to_is_a_step_or_is_said(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(
        "parameters:\n"
        "  whole: {distribution: q_uniform, min: 0, max: 8}\n"
        "  log: {distribution: q_log_uniform_values, min: 8, max: 64, q: 8}\n"
        "  off: {distribution: q_uniform, min: 1, max: 9, q: 2}\n"
        "  normal: {distribution: q_normal, mu: 1, sigma: 9, q: 2}\n"
    )
    found = converted(path)
    assert found.space == {
        "whole": {"type": "float", "low": 0, "high": 8, "step": 1},
        "log": {"type": "float", "low": 8, "high": 64, "log": True},
        "off": {"type": "float", "low": 1, "high": 9, "step": 2},
    }
    assert [line.partition(":")[0] for line in found.left] == ["log", "off", "normal"]
    path.write_text(
        "assessor: {name: Medianstop, classArgs: {start_step: 5}}\n"
        "searchSpace:\n"
        "  log: {_type: qloguniform, _value: [8, 64, 8]}\n"
        "  normal: {_type: qnormal, _value: [1, 9, 2]}\n"
    )
    found = converted(path)
    assert found.space == {"log": {"type": "float", "low": 8, "high": 64, "log": True}}
    assert found.settings["pruner"] == "median"
    assert [line.partition(":")[0] for line in found.left] == ["log", "normal", "start_step"]
    path.write_text(path.read_text().replace("Medianstop", "Curvefitting"))
    found = converted(path)
    assert "pruner" not in found.settings
    assert "assessor: Curvefitting" in found.left[-1]


def test_an_nni_search_space_alone_and_as_json_is_read(tmp_path: Path) -> None:
    space = {"lr": {"_type": "uniform", "_value": [0.1, 1]}}
    (tmp_path / "search_space.json").write_text(json.dumps(space))
    (tmp_path / "config.yml").write_text("searchSpaceFile: search_space.json\nmaxTrialNumber: 3\n")
    for name in ("search_space.json", "config.yml"):
        found = converted(tmp_path / name)
        assert found.space == {"lr": {"type": "float", "low": 0.1, "high": 1}}
    assert found.settings["n_trials"] == 3


def test_a_grid_without_end_becomes_random_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text("method: grid\nparameters: {lr: {min: 0.1, max: 1.0}}\n")
    found = converted(path)
    assert found.settings["sampler"] == "random"
    assert any("a grid of lr has no end" in line for line in found.left)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(list(EXPECTED)), st.data())
def test_a_damaged_file_of_another_tool_is_converted_or_refused(
    text: str, data: st.DataObject
) -> None:
    tree = YAML(typ="safe").load(text)
    holder = tree
    for _ in range(data.draw(st.integers(1, 4))):
        keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = data.draw(st.sampled_from(keys))
        if isinstance(holder[key], dict | list) and holder[key] and data.draw(st.booleans()):
            holder = holder[key]
            continue
        holder[key] = data.draw(VALUES)
        break
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "sweep.json").write_text(json.dumps(tree))
        try:
            _, files = converted_files(path, Path(folder) / "study.yaml")
        except UserError:
            return
        assert YAML(typ="safe").load(next(iter(files.values())))["version"] == 1


def test_converting_says_what_was_left_and_what_is_still_to_be_mended(run: Run) -> None:
    Path("sweep.yaml").write_text(WANDB.replace("min: 1, max: 4", "min: 4, max: 1"))
    code, out, _ = run("init", "--from", "sweep.yaml")
    assert code == 0
    assert "wrote study.yaml" in out
    assert "not carried over: dropout: normal: write low and high" in out
    assert "still to be mended" in out
    assert "high (1) is below low (4)" in out
    Path("study.yaml").unlink()
    for text, said in {
        "a: 1\n": "is no W&B sweep",
        "- 1\n": "a file of another tool is a mapping",
        "storage: x\nsearch_space: {}\n": "already",
    }.items():
        Path("sweep.yaml").write_text(text)
        code, _, err = run("init", "--from", "sweep.yaml")
        assert code == 2
        assert said in err
    assert not Path("study.yaml").exists()
    with pytest.raises(UserError, match="no such file"):
        converted(Path("nowhere.yaml"))
