"""What a valid study file means."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from study_texts import FULL, SMALL, replaced

from lyapopt.space import (
    CategoricalParameter,
    ConstantParameter,
    FloatParameter,
    SeedParameter,
)
from lyapopt.study.file import (
    BuiltinTask,
    CustomTask,
    StudyFile,
    StudyFileError,
    json_schema_text,
    load_study_file,
)
from lyapopt.study.file.schema import json_schema

ROOT = Path(__file__).parents[2]


def load(text: str, tmp_path: Path, *overrides: str) -> StudyFile:
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study_file(path, overrides)


def test_the_full_example_parses_whole(tmp_path: Path) -> None:
    study = load(FULL, tmp_path)
    assert study.task == BuiltinTask(
        "digits",
        {
            "model": "mlp",
            "hidden": [32, 32],
            "steps": 600,
            "batch_size": 64,
            "optimizer": "sgd",
        },
    )
    space = study.search_space
    assert isinstance(space["lr"], FloatParameter)
    assert (space["lr"].low, space["lr"].high, space["lr"].log) == (1e-4, 3.0, True)
    assert isinstance(space["activation"], CategoricalParameter)
    assert space["activation"].choices == ("linear", "sigmoid", "relu", "tanh", "gelu")
    assert isinstance(space["init_seed"], SeedParameter)
    assert space["init_seed"].high == 2**31 - 1
    assert isinstance(space["batch_size"], ConstantParameter)
    assert space["momentum"].when == {"optimizer": ("sgd",)}
    assert study.probe.radius == 1e-6
    assert study.timeout == 1200
    assert study.budget is not None
    assert study.budget.gradient_evaluations == 200_000
    assert study.trials_at_once == 16
    assert study.enqueue == ({"activation": "relu", "lr": 0.1},)
    assert study.on_failure.catch == ("RuntimeError",)
    assert study.callbacks == ("mypackage.callbacks:notify",)
    assert study.all_directions == ("minimize",)
    assert study.source == tmp_path / "study.yaml"
    assert study.base_dir == tmp_path.resolve()


def test_sampler_and_pruner_are_resolved_with_what_is_nested_in_them(tmp_path: Path) -> None:
    study = load(FULL, tmp_path)
    assert study.sampler_spec.as_dict() == {
        "class": "lyapopt.search:EdgeOfChaosSampler",
        "steer": "lr",
        "target": "adaptive",
        "base": {"class": "optuna.samplers:TPESampler", "seed": 0},
    }
    assert study.pruner_spec.nested["wrapped"].kwargs == {"n_warmup_steps": 1}


def test_yaml_is_version_1_2(tmp_path: Path) -> None:
    text = """\
storage: sqlite:///x.db
task: {build: "a:b"}
search_space:
  small: 1e-5
  off: off
  no: [no, yes, on]
  octal: [017, 0o17, 0x1F]
  time: 12:30
  date: 2026-01-01
  nothing: ~
  quoted: "1"
n_trials: 1
"""
    study = load(text, tmp_path)
    choices = {n: getattr(p, "choices", None) for n, p in study.search_space.items()}
    assert study.constants == {
        "small": 1e-5,
        "off": "off",
        "time": "12:30",
        "date": "2026-01-01",
        "nothing": None,
        "quoted": "1",
    }
    assert choices["no"] == ("no", "yes", "on")
    assert choices["octal"] == (17, 15, 31)


def test_anchors_and_aliases_are_copied(tmp_path: Path) -> None:
    text = replaced(SMALL, "{type: float, low: 0.1", "&rate {type: float, low: 0.1")
    study = load(text + "sampler: &s {name: tpe}\n", tmp_path)
    assert study.sampler_spec.class_name == "TPESampler"
    text = replaced(text, "activation: [linear, sigmoid, relu]", "momentum: *rate")
    study = load(text, tmp_path)
    assert study.search_space["momentum"] == study.search_space["lr"]


def test_defaults_are_those_of_optuna(tmp_path: Path) -> None:
    study = load(SMALL, tmp_path)
    assert study.study_name == "study"
    assert study.seed == 0
    assert study.load_if_exists
    assert study.sampler_spec.import_path == "optuna.samplers:TPESampler"
    assert study.pruner_spec.import_path == "optuna.pruners:MedianPruner"
    assert study.trials_at_once is None
    both = "value: both\ndirections: [minimize, maximize]\n"
    assert load(SMALL + both, tmp_path).pruner_spec.class_name == "NopPruner"
    assert load(SMALL + "pruner: null\n", tmp_path).pruner_spec.class_name == "NopPruner"
    assert load(SMALL + "sampler: null\n", tmp_path).sampler_spec.class_name == "TPESampler"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("20m", 1200), ("1h30m", 5400), ("45s", 45), ("2d", 172800), ("90", 90), ("0.5", 0.5)],
)
def test_a_timeout_is_seconds_or_a_duration(written: str, seconds: float, tmp_path: Path) -> None:
    assert load(SMALL + f"timeout: {written}\n", tmp_path).timeout == seconds


def test_environment_variables_are_filled_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LYAPOPT_TEST_DIR", "results")
    monkeypatch.setenv("LYAPOPT_TEST_TRIALS", "7")
    text = replaced(SMALL, "runs/xor.db", "${LYAPOPT_TEST_DIR}/${LYAPOPT_TEST_NAME:-xor}.db")
    study = load(replaced(text, "60", "${LYAPOPT_TEST_TRIALS}"), tmp_path)
    assert study.storage == "sqlite:///results/xor.db"
    assert study.n_trials == 7


def test_overrides_replace_values_and_may_add_arguments(tmp_path: Path) -> None:
    study = load(
        SMALL,
        tmp_path,
        "n_trials=5",
        "sampler=edge-of-chaos",
        "sampler.target=0.01",
        "search_space.lr.high=1",
        "probe.horizon=5",
        "task.steps=50",
        "enqueue=[{lr: 0.2}]",
        "enqueue.0.lr=0.3",
        "storage=sqlite:///a=b.db",
    )
    assert study.n_trials == 5
    assert study.sampler_spec.kwargs == {"target": 0.01}
    assert study.search_space["lr"].contains(0.9)
    assert not study.search_space["lr"].contains(1.1)
    assert study.probe.horizon == 5
    assert study.fixed_params()["steps"] == 50
    assert study.enqueue == ({"lr": 0.3},)
    assert study.storage == "sqlite:///a=b.db"


def test_fixed_parameters_are_defaults_then_task_then_constants(tmp_path: Path) -> None:
    text = replaced(SMALL, "{name: xor}", "{name: xor, steps: 40, batch_size: 2}")
    study = load(replaced(text, "[linear, sigmoid, relu]", "relu") + "seed: 3\n", tmp_path)
    params = study.fixed_params()
    assert (params["steps"], params["batch_size"], params["activation"]) == (40, 2, "relu")
    assert params["hidden"] == [8]
    assert list(study.variables) == ["lr"]


def test_a_task_of_ones_own_takes_any_parameter(tmp_path: Path) -> None:
    text = replaced(SMALL, "{name: xor}", "{build: my.train:build, kwargs: {width: 3}}")
    study = load(replaced(text, "  lr:", "  anything:"), tmp_path)
    assert study.task == CustomTask("my.train:build", {"width": 3})
    assert study.fixed_params() == {"width": 3}


def test_parameters_come_after_those_that_their_conditions_read(tmp_path: Path) -> None:
    space = """  momentum: {type: float, low: 0, high: 1, when: {optimizer: [sgd, rmsprop]}}
  optimizer: [sgd, adam]"""
    with pytest.raises(StudyFileError, match="rmsprop"):
        load(replaced(SMALL, "  activation: [linear, sigmoid, relu]", space), tmp_path)
    space = space.replace("sgd, rmsprop", "sgd")
    study = load(replaced(SMALL, "  activation: [linear, sigmoid, relu]", space), tmp_path)
    assert list(study.variables) == ["lr", "optimizer", "momentum"]
    momentum = study.search_space["momentum"]
    assert momentum.is_active({"optimizer": "sgd"})
    assert not momentum.is_active({"optimizer": "adam"})
    assert not momentum.is_active({})


def test_the_digest_follows_what_defines_the_results(tmp_path: Path) -> None:
    plain = load(SMALL, tmp_path).digest()
    same = [
        "n_trials=9",
        "storage=sqlite:///y.db",
        "timeout=3",
        "workers=2",
        "output.progress=none",
    ]
    other = ["seed=1", "search_space.lr.high=9", "task.steps=99", "probe.horizon=9", "sampler=gp"]
    assert all(load(SMALL, tmp_path, change).digest() == plain for change in same)
    assert len({load(SMALL, tmp_path, change).digest() for change in other} | {plain}) == 6
    assert load(SMALL.replace("{name: xor}", "{name: xor}  # !"), tmp_path).digest() == plain
    spelt_out = [
        "seed=0",
        "probe={horizon: 20}",
        "task.steps=300",
        "sampler=TPESampler",
        "value=loss",
    ]
    assert load(SMALL, tmp_path, *spelt_out).digest() == plain


def test_a_study_can_be_made_in_python_too() -> None:
    study = StudyFile.model_validate(
        {"storage": "sqlite:///x.db", "task": {"name": "xor"}, "sampler": "random", "n_trials": 1}
    )
    assert study.sampler_spec.class_name == "RandomSampler"
    with pytest.raises(ValueError, match="no sampler is called randm"):
        StudyFile.model_validate({"storage": "sqlite:///x.db", "sampler": "randm"})


def test_the_committed_schema_is_in_sync() -> None:
    committed = (ROOT / "studies" / "study.schema.json").read_text(encoding="utf-8")
    assert committed == json_schema_text()


def test_the_schema_is_draft_7_with_references_that_resolve() -> None:
    schema = json_schema()
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    text = json.dumps(schema)
    assert "$defs" not in text
    assert "prefixItems" not in text
    names = {part.split('"')[0] for part in text.split("#/definitions/")[1:]}
    assert names <= set(schema["definitions"])
    assert set(schema["properties"]) == set(StudyFile.model_fields)
    assert schema["additionalProperties"] is False


def test_validating_imports_neither_torch_nor_optuna(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(FULL)
    code = """
import sys
from lyapopt.study.file import load_study_file
load_study_file(sys.argv[1])
heavy = {"torch", "optuna", "pandas", "rich", "sqlalchemy", "numpy", "plotly", "sklearn"}
print(sorted(heavy & set(sys.modules)))
"""
    command = [sys.executable, "-c", code, str(tmp_path / "study.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
