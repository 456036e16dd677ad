"""What a table holds is what a lone training does."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from networks_of_users import NETWORKS
from optuna.distributions import IntDistribution
from optuna.trial import TrialState
from small_case import STEPS, build, small_case

from lyapopt.bench.search.frozen import PRUNED
from lyapopt.bench.search.replay import Replay, Watch
from lyapopt.bench.tables.cache import key_of, table_of
from lyapopt.bench.tables.cases import Case, build_cell, spaced, twin
from lyapopt.bench.tables.curvature import Gradients
from lyapopt.bench.tables.measures import exponents, measurements
from lyapopt.bench.tables.recording import MANY, checkpoints_of, record
from lyapopt.bench.tables.table import HORIZONS, Table
from lyapopt.dynamics import Training, TrainingMap, stack
from lyapopt.dynamics.precision import precision_of
from lyapopt.errors import UserError
from lyapopt.exponents import spectrum
from lyapopt.probe import Probe
from lyapopt.search import LyapunovPruner, Objective
from lyapopt.search.attributes import rounded


@pytest.fixture(scope="module")
def table() -> Table:
    return record(small_case())


def tame(table: Table) -> list[int]:
    """Configurations whose rounding errors do not grow."""
    values = exponents(table, "weights", MANY, 20)
    return [int(row) for row in np.flatnonzero(values < 0.02)]


def test_a_replay_charges_for_pruning_what_an_objective_does(table: Table) -> None:
    probe = Probe(horizon=PRUNED.horizon, neighbours=PRUNED.neighbours)
    cells = table.case.cells
    objective = Objective(
        lambda params: build_cell(table.case, cells[params["cell"]]),
        {"cell": IntDistribution(0, len(cells) - 1)},
        probe=probe,
        record=False,
        stop_at=probe.horizon,
    )
    study = optuna.create_study(pruner=LyapunovPruner())
    for cell in range(len(cells)):
        study.enqueue_trial({"cell": cell})
    study.optimize(objective, n_trials=len(cells))
    replay = Replay(table, budget=1e9, seed=0)
    replayed = optuna.create_study(pruner=LyapunovPruner())
    watch = Watch(probe.horizon, probe.neighbours, PRUNED.slow)
    for trial in study.trials:
        other, before = replayed.ask(), replay.spent
        watch.show(other, replay, trial.number)
        cost = replay.spent - before + probe.horizon
        other.report(0.0, probe.horizon)
        # What is not finite is not evaluated any more.
        is_evaluated = bool(table.is_finite[trial.number, HORIZONS.index(probe.horizon)])
        cost += is_evaluated * table.facts.evaluation_cost
        assert trial.user_attrs["gradient_evaluations"] == rounded(cost)
        assert other.should_prune() == (trial.state == TrialState.PRUNED)
        is_complete = trial.state == TrialState.COMPLETE
        replayed.tell(other, trial.value if is_complete else None, state=trial.state)
        shown = replayed.trials[trial.number].user_attrs
        assert ("exponent" in shown) == ("exponent" in trial.user_attrs)
    assert 0 < sum("exponent" in trial.user_attrs for trial in study.trials) < len(cells)


def test_a_cell_is_what_a_lone_pytorch_loop_gives(table: Table) -> None:
    for cell in tame(table)[::5]:
        training = build(table.case.cells[cell])
        step = TrainingMap([training])
        model, z = training.model, step.initial_state()
        for t in range(STEPS):
            z, loss = step.step_with_losses(z, t)
            assert loss.item() == pytest.approx(table.losses[cell, t], rel=1e-7)
        [trained] = step.models(z)
        x, y = training.validation
        with torch.no_grad():
            expected = float(training.loss_fn(trained(x), y))
        assert table.validation[cell, -1] == pytest.approx(expected, rel=1e-7)
        assert model is training.model


def test_measurements_are_those_of_the_probe(table: Table) -> None:
    cells = tame(table)[::4]
    trainings = [build(table.case.cells[cell]) for cell in cells]
    for horizon in (5, 20):
        lone = Probe(horizon=horizon, neighbours=MANY).measure(trainings)
        for cell, expected in zip(cells, lone, strict=True):
            found = measurements(table, MANY, horizon)[cell]
            assert found.exponent == pytest.approx(expected.exponent, rel=1e-6, abs=1e-12)
            assert found.verdict == expected.verdict
            assert found.low == pytest.approx(expected.low, rel=1e-5, abs=1e-12)
            assert found.gradient_evaluations == expected.gradient_evaluations
            assert np.allclose(found.losses, expected.losses, rtol=1e-9)


def test_the_tangent_is_that_of_the_spectrum(table: Table) -> None:
    cells = tame(table)[::6]
    step = TrainingMap([build(table.case.cells[cell]) for cell in cells])
    expected = spectrum(step, step.initial_state(), 20, k=1, seed=0).weight_value
    assert exponents(table, "tangent", 1, 20)[cells] == pytest.approx(expected.numpy(), rel=1e-6)


def test_outputs_grow_as_the_probe_measures_them(table: Table) -> None:
    """The product follows neighbours in outputs; here they are read off the same neighbours."""
    cells = tame(table)[::6]
    trainings = [build(table.case.cells[cell]) for cell in cells]
    lone = Probe(horizon=20, neighbours=2, distance="outputs", settle=0).measure(trainings)
    found = exponents(table, "outputs", 2, 20)[cells]
    assert found == pytest.approx([one.exponent for one in lone], rel=1e-3, abs=1e-5)


def test_gradients_and_curvature_are_those_of_autograd() -> None:
    training = build({"init_seed": 0, "lr": 0.1})
    step = TrainingMap([training])
    w = step.weights(step.initial_state())[:, 0]
    norm, sharpness = Gradients([training]).norm_and_sharpness(w, 0)
    x, y = training.data
    batch = training_batch(step)
    parameters = list(training.model.parameters())
    loss = training.loss_fn(training.model(x[batch]), y[batch])
    first = torch.autograd.grad(loss, parameters, create_graph=True)
    flat = torch.cat([g.reshape(-1) for g in first])
    rows = [torch.autograd.grad(g, parameters, retain_graph=True) for g in flat]
    hessian = torch.stack([torch.cat([h.reshape(-1) for h in row]) for row in rows])
    assert norm.item() == pytest.approx(float(flat.norm().detach()), rel=1e-6)
    largest = float(torch.linalg.eigvalsh(hessian).abs().max())
    assert sharpness.item() == pytest.approx(largest, rel=0.1)


def training_batch(step: TrainingMap) -> torch.Tensor:
    return step._systems[0].order.epoch(0)[0]


def test_a_float32_network_of_ones_own_is_a_case_too() -> None:
    network = NETWORKS["class weights"]
    axes = {"init_seed": (0,), "lr": spaced(1e-2, 1.0, 3)}

    def own(params: Mapping[str, Any]) -> Training:
        return network.training(params["lr"], steps=STEPS)

    table = record(Case("own", "own", {}, axes, build=own))
    expected = Probe(horizon=20, neighbours=MANY).measure([own(cell) for cell in table.case.cells])
    for found, one in zip(measurements(table, MANY, 20), expected, strict=True):
        assert found.exponent == pytest.approx(one.exponent, rel=1e-6, abs=1e-12)


def test_a_table_comes_back_from_its_file_and_is_not_recorded_twice(tmp_path: Path) -> None:
    said: list[str] = []
    case = small_case()
    first = table_of(case, tmp_path, said.append)
    assert said
    said.clear()
    again = table_of(case, tmp_path, said.append)
    assert not said
    assert np.array_equal(first.validation, again.validation, equal_nan=True)
    assert first.facts == again.facts


def test_the_key_follows_from_what_is_recorded() -> None:
    case = small_case()
    other = small_case()
    object.__setattr__(other, "axes", {**other.axes, "init_seed": (0, 2)})
    assert key_of(case) == key_of(small_case())
    assert key_of(case) != key_of(other)


def test_early_checkpoints_and_epochs_are_evaluated() -> None:
    assert checkpoints_of(60, 4).tolist() == [4, 5, 8, 10, 15, 20, 22, 30, 38, 40, 45, 52, 60]


def test_a_training_without_steps_is_refused() -> None:
    def endless(params):  # type: ignore[no-untyped-def]
        training = build(params)
        training.steps = None
        return training

    case = small_case()
    object.__setattr__(case, "build", endless)
    with pytest.raises(UserError, match="number of steps"):
        record(case)


def test_a_float32_network_trains_in_its_own_precision_and_is_measured_in_float64():
    def narrow(params):
        training = build(params)
        training.model.float()
        x, y = (tensor.float() for tensor in training.data)
        return dataclasses.replace(training, data=(x, y), validation=(x, y))

    axes = {"init_seed": (0,), "lr": spaced(1e-3, 0.1, 3)}
    case = Case("narrow/sgd", "tests", {}, axes, build=narrow)
    assert precision_of(build_cell(case, case.cells[0])) == torch.float32
    wide = Case("wide/sgd", "tests", {}, axes, build=lambda params: twin(narrow(params)))
    [(_, own)] = stack([build_cell(case, case.cells[0])], compile="off")
    table, other = record(case), record(wide)
    z = own.initial_state()
    losses = []
    for t in range(8):
        z, loss = own.step_with_losses(z, t)
        losses.append(loss.item())
    assert table.losses[0, :8] == pytest.approx(losses, rel=1e-6)
    assert (table.losses.astype(np.float32) == table.losses).all()
    assert table.losses[0, :8] != pytest.approx(other.losses[0, :8], rel=1e-12)
    np.testing.assert_allclose(table.separations, other.separations, rtol=1e-6)
