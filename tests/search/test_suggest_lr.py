"""A learning rate that is steered from within an objective of one's own."""

from __future__ import annotations

import logging
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from networks_of_users import NETWORKS
from optuna.distributions import FloatDistribution
from optuna.samplers import (
    BruteForceSampler,
    GPSampler,
    GridSampler,
    PartialFixedSampler,
    RandomSampler,
    TPESampler,
)
from optuna.trial import FixedTrial, TrialState
from recipes import recipe_with
from torch import Tensor, nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    TensorDataset,
    WeightedRandomSampler,
)

import lyapopt
from lyapopt import EdgeOfChaosSampler, Probe, UserError, suggest_lr
from lyapopt.dynamics.first_batches import read_first_batches
from lyapopt.search.probing.records import STEERING
from lyapopt.search.recording import destination

LOW, HIGH, EDGE = 1e-3, 10.0, 0.2
PROBE = Probe(horizon=6)
FULL = 5 * 2 * PROBE.horizon  # gradient evaluations of five rounds of a rate


@pytest.fixture(autouse=True)
def _nothing_was_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "_said", set())


def new_study(**options: Any) -> optuna.Study:
    return optuna.create_study(**{"sampler": RandomSampler(0), **options})


def quadratic() -> dict[str, Any]:
    """Gradient descent on 5 w^2: the exponent is ln |1 - 10 lr|, and the edge 2 / 10."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    x = torch.full((1, 1), 5**0.5, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    data = {"model": model, "optimizer": optimizer, "loader": (x, 0 * x)}
    return {**data, "loss_fn": nn.functional.mse_loss, "probe": PROBE}


def suggested(trial: optuna.trial.BaseTrial, **options: Any) -> float:
    return suggest_lr(trial, "lr", LOW, HIGH, **{**quadratic(), **options})


def steering(trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    found: dict[str, Any] = trial.user_attrs[STEERING]
    return found


class Noisy(Dataset[Any]):
    """Examples with a generator, a counter and a transform of their own."""

    def __init__(self, count: int = 40) -> None:
        self.source = torch.Generator().manual_seed(3)
        self.numpy = np.random.default_rng(4)
        self.x = torch.randn(count, 4, generator=torch.Generator().manual_seed(5))
        self.reads: list[int] = []
        self.transform = lambda x: 2 * x

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        self.reads.append(index)
        noise = torch.randn(4, generator=self.source) + float(self.numpy.normal())
        noise = noise + torch.randn(4) + random.random() + float(np.random.normal())
        return self.transform(self.x[index]) + 0.1 * noise, self.x[index].sum() > 0


def test_the_rate_is_the_edge_of_a_map_whose_edge_is_known():
    study = new_study()
    study.optimize(lambda trial: suggested(trial, target=1e-3), n_trials=1)
    [trial] = study.trials
    assert EDGE / 1.8 < trial.params["lr"] < EDGE * 1.1
    assert trial.distributions == {"lr": FloatDistribution(LOW, HIGH, log=True)}
    assert steering(trial)["status"] == "crossed"
    assert steering(trial)["value"] == trial.params["lr"] == study.best_params["lr"]
    assert trial.user_attrs["gradient_evaluations"] == steering(trial)["gradient_evaluations"]


@pytest.mark.parametrize("makes_optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_the_users_training_is_the_same_bit_for_bit_with_and_without(makes_optimizer: Any):
    def train(is_steered: bool) -> dict[str, Any]:
        torch.manual_seed(0), np.random.seed(0), random.seed(0)
        model = nn.Sequential(
            nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2)
        )
        model[0].bias.requires_grad_(False)
        model[3].eval()
        optimizer = makes_optimizer([p for p in model.parameters() if p.requires_grad], lr=0.01)
        scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        data = Noisy()
        loader = DataLoader(data, 8, shuffle=True, generator=torch.Generator().manual_seed(1))
        loss_fn = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]))

        def epoch() -> None:
            for x, y in loader:
                optimizer.zero_grad()
                loss_fn(model(x), y.long()).backward()
                optimizer.step()
                scheduler.step()

        epoch()
        if is_steered:
            trial, before = new_study().ask(), random.getstate()
            suggest_lr(
                trial,
                "lr",
                LOW,
                HIGH,
                model=model,
                optimizer=optimizer,
                loss_fn=lambda out, y: loss_fn(out, y.long()),
                loader=loader,
                probe=PROBE,
            )
            assert steering(trial._get_latest_trial())["status"] == "crossed"
            assert _has_drawn_for_type_checks_alone(before)
            random.setstate(before)
        seen = {
            "gradients": [p.grad if p.grad is None else p.grad.clone() for p in model.parameters()],
            "modes": [module.training for module in model.modules()],
            "reads": list(data.reads),
            "data set": [data.source.get_state(), data.numpy.bit_generator.state],
            "loader": loader.generator.get_state(),
            "python": random.getstate(),
            "numpy": np.random.get_state()[1],
            "torch": torch.get_rng_state(),
        }
        epoch()
        state = optimizer.state_dict()
        return {
            **seen,
            "weights and buffers": list(model.state_dict().values()),
            "slots": [list(slots.values()) for slots in state["state"].values()],
            "groups": state["param_groups"],
        }

    plain, steered = train(False), train(True)
    for what, value in plain.items():
        assert _equal(value, steered[what]), what


@pytest.mark.parametrize("name", NETWORKS)
def test_the_networks_that_people_write_are_probed_and_left_alone(name: str):
    model, loss_fn, optimizer, data = NETWORKS[name].parts(lr=0.1)
    before = [tensor.clone() for tensor in model.state_dict().values()], torch.get_rng_state()
    trial = new_study().ask()
    suggest_lr(
        trial,
        "lr",
        LOW,
        HIGH,
        model=model,
        optimizer=optimizer,
        loss_fn=loss_fn,
        loader=data,
        batch_size=8,
        probe=Probe(horizon=2),
        rates_at_once=1,
        rounds=1,
        record=False,
    )
    assert steering(trial._get_latest_trial())["status"] != "fallback"
    assert _equal(before, (list(model.state_dict().values()), torch.get_rng_state()))
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not optimizer.state
    assert optimizer.param_groups[0]["lr"] == 0.1


def _has_drawn_for_type_checks_alone(before: Any) -> bool:
    """Beartype, which checks shapes in these tests, draws from Python's generator to pick items."""
    source, now = random.Random(), random.getstate()
    source.setstate(before)
    return any(source.getstate() == now or source.getrandbits(32) < 0 for _ in range(10_000))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return torch.equal(a, b)
    if isinstance(a, np.ndarray):
        return bool(np.array_equal(a, b))
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    return bool(a == b)


@pytest.mark.parametrize(
    "sampler",
    [
        TPESampler(seed=0, n_startup_trials=1),
        GPSampler(seed=0, n_startup_trials=1),
        GridSampler({"width": [1, 2, 3]}),
    ],
    ids=lambda sampler: type(sampler).__name__,
)
def test_any_sampler_sees_an_ordinary_parameter(sampler: optuna.samplers.BaseSampler):
    study = new_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("width", 1, 3)
        lr = suggested(trial)
        assert lr == suggested(trial) == trial.suggest_float("lr", LOW, HIGH, log=True)
        return lr

    study.optimize(objective, n_trials=3)
    for trial in study.trials:
        assert trial.state == TrialState.COMPLETE
        assert EDGE / 5 < trial.params["lr"] < EDGE * 1.1
        assert trial.value == trial.params["lr"] == steering(trial)["value"]


def test_values_that_are_given_win_and_cost_nothing():
    study = new_study()
    study.enqueue_trial({"lr": 0.5})
    study.optimize(suggested, n_trials=1)
    [trial] = study.trials
    assert (trial.params, trial.user_attrs) == ({"lr": 0.5}, {})
    assert suggested(FixedTrial({"lr": 0.7})) == 0.7
    assert suggested(study.best_trial) == 0.5
    low = new_study().ask()
    assert suggest_lr(low, "lr", 0.1, 0.1, **quadratic()) == 0.1
    assert STEERING not in low.user_attrs


@pytest.mark.parametrize(
    "sampler", [GridSampler({"lr": [0.5]}), PartialFixedSampler({"lr": 0.5}, RandomSampler(0))]
)
def test_values_that_a_sampler_was_given_win(sampler: optuna.samplers.BaseSampler):
    study = new_study(sampler=sampler)
    study.optimize(suggested, n_trials=1)
    [trial] = study.trials
    assert (trial.params, trial.user_attrs) == ({"lr": 0.5}, {})


def test_a_search_that_tries_every_value_is_refused_before_anything_is_trained():
    study = new_study(sampler=BruteForceSampler())
    with pytest.raises(UserError, match="use another sampler"):
        study.optimize(suggested, n_trials=1)
    assert study.trials[0].user_attrs == {}


def test_a_sampler_that_steers_the_rate_itself_does_so():
    def build(params: Any) -> lyapopt.Training:
        parts = quadratic()
        parts["optimizer"].param_groups[0]["lr"] = params["lr"]
        return lyapopt.Training(
            parts["model"], parts["loss_fn"], parts["optimizer"], parts["loader"]
        )

    study = new_study(sampler=EdgeOfChaosSampler(build=build, probe=PROBE, seed=0))
    study.optimize(lambda trial: suggested(trial, model=nn.Linear(1, 1)), n_trials=1)
    assert EDGE / 5 < study.trials[0].params["lr"] < EDGE * 1.1


def test_trials_begin_at_the_edges_of_former_ones_whatever_became_of_those():
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        suggested(trial)
        if trial.number == 0:
            raise optuna.TrialPruned
        if trial.number == 1:
            raise RuntimeError("after the rate was found")
        return 0.0

    study.optimize(objective, n_trials=8, catch=RuntimeError)
    costs = [steering(trial)["gradient_evaluations"] for trial in study.trials]
    assert costs[0] <= FULL
    assert max(costs[1:7]) <= FULL * 4 / 5
    assert costs[7] <= FULL * 3 / 5  # five complete ones have a usual edge
    assert all(EDGE / 5 < trial.params["lr"] < EDGE * 1.1 for trial in study.trials)


def test_cached_edges_are_reused_without_probes_where_seeds_alone_differ():
    study = new_study()

    def objective(trial: optuna.Trial) -> float:
        trial.suggest_int("seed", 0, 1000)
        trial.suggest_categorical("kind", ["a", "b"][trial.number // 3 : trial.number // 3 + 1])
        return suggested(trial, reuse=0.05, seeds=["seed"])

    study.sampler = RandomSampler(1)
    study.optimize(objective, n_trials=3)
    assert [steering(trial)["status"] for trial in study.trials] == ["crossed", "drawn", "drawn"]
    assert [bool(t.user_attrs["gradient_evaluations"]) for t in study.trials] == [
        True,
        False,
        False,
    ]
    assert len({trial.params["lr"] for trial in study.trials}) == 3


def test_several_objectives_and_threads():
    study = new_study(directions=["minimize", "maximize"])
    study.optimize(lambda trial: (suggested(trial), 1.0), n_trials=6, n_jobs=3)
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 6
    assert all(EDGE / 5 < trial.params["lr"] < EDGE * 1.1 for trial in study.trials)


def test_groups_keep_their_ratio_and_a_schedule_is_part_of_the_map():
    parts = quadratic()
    weight, bias = parts["model"].weight, nn.Parameter(torch.zeros(1, dtype=torch.float64))
    parts["model"].bias = bias
    groups = [{"params": [weight], "lr": 0.5}, {"params": [bias], "lr": 0.0}]
    parts["optimizer"] = torch.optim.SGD(groups)
    trial = new_study().ask()
    lr = suggest_lr(
        trial, "lr", LOW, HIGH, **parts, target=1e-3, scheduler=lambda step: 2.0, seed=1
    )
    assert EDGE / 2 / 1.8 < lr < EDGE / 2 * 1.1
    assert [group["lr"] for group in parts["optimizer"].param_groups] == [0.5, 0.0]
    parts["optimizer"].param_groups[0]["lr"], parts["optimizer"].param_groups[1]["lr"] = 0.0, 0.5
    trial = new_study().ask()
    suggest_lr(trial, "lr", LOW, HIGH, **parts)
    assert "has the learning rate 0" in steering(trial._get_latest_trial())["reason"]


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise AssertionError("is not read")


def unmeasurable() -> dict[str, dict[str, Any]]:
    parts = quadratic()
    x, y = parts["loader"]
    data = TensorDataset(x.repeat(4, 1), y.repeat(4, 1))
    own = DataLoader(data, 2, sampler=WeightedRandomSampler([1.0] * 4, 4))
    return {
        "sampler or batch_sampler of its own cannot be replayed": {"loader": own},
        "has no examples to draw again": {"loader": DataLoader(Stream(), 2)},
        "LBFGS": {
            "model": parts["model"],
            "optimizer": torch.optim.LBFGS(parts["model"].parameters()),
        },
        "expected 3 dimensions": {"loss_fn": lambda out, y: _raise("expected 3 dimensions")},
    }


def _raise(text: str) -> Tensor:
    raise ValueError(text)


@pytest.mark.parametrize("reason", unmeasurable())
def test_what_cannot_be_probed_is_drawn_by_the_sampler_with_the_reason_said_once(
    reason: str, caplog: pytest.LogCaptureFixture
):
    options = unmeasurable()[reason]
    study, plain = new_study(), new_study()
    with caplog.at_level(logging.WARNING, logger="lyapopt"):
        study.optimize(lambda trial: suggested(trial, record=False, **options), n_trials=3)
    plain.optimize(lambda trial: trial.suggest_float("lr", LOW, HIGH, log=True), n_trials=3)
    assert [t.params for t in study.trials] == [t.params for t in plain.trials]
    [said] = [r for r in caplog.records if "is not steered" in r.getMessage()]
    assert reason in said.getMessage()
    for trial in study.trials:
        assert steering(trial)["status"] == "fallback"
        assert reason in steering(trial)["reason"]
        assert trial.user_attrs["gradient_evaluations"] == 0


def test_a_second_rate_of_a_trial_is_drawn_and_leaves_the_record_of_the_first():
    trial = new_study().ask()
    first, second = suggested(trial), suggest_lr(trial, "critic", LOW, HIGH, **quadratic())
    kept = trial._get_latest_trial()
    assert kept.params == {"lr": first, "critic": second}
    assert steering(kept)["name"] == "lr"
    assert "one rate" in kept.user_attrs[f"{STEERING}:critic"]["reason"]


def test_probes_are_in_the_database_beside_what_is_watched(tmp_path: Path):
    url = f"sqlite:///{tmp_path / 'study.db'}"
    study = new_study(storage=url, study_name="study")

    def objective(trial: optuna.Trial) -> float:
        parts = quadratic()
        lr = suggest_lr(trial, "lr", LOW, HIGH, **parts)
        if trial.number == 0:
            return lr
        x, y = parts["loader"]
        parts["optimizer"].param_groups[0]["lr"] = 0.01
        with lyapopt.watch(trial, parts["model"], parts["optimizer"], parts["loss_fn"], horizon=3):
            pass
        monitor = lyapopt.watch(
            trial, parts["model"], parts["optimizer"], parts["loss_fn"], horizon=3
        )
        for _ in range(3):
            monitor.observe(x, y)
        monitor.close()
        return lr

    study.optimize(objective, n_trials=2)
    exponents = lyapopt.TrajectoryStore(url).exponents("study")
    first, second = (exponents[exponents.trial_number == number] for number in (0, 1))
    assert set(first.horizon) == {PROBE.horizon}
    assert list(second.horizon) == [3] + [PROBE.horizon] * (len(second) - 1)
    for trial, rows in zip(study.trials, (first, second[1:]), strict=True):
        probed = [value for value, _, _ in steering(trial)["probes"]]
        assert sorted(details["rate"] for details in rows.details) == probed
    cost = study.trials[1].user_attrs["gradient_evaluations"]
    assert cost == steering(study.trials[1])["gradient_evaluations"] + 3 * 3
    table = lyapopt.load(url, "study").trials
    assert list(table.params_lr) == [trial.params["lr"] for trial in study.trials]
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


def test_only_the_examples_of_the_first_batches_are_read(tmp_path: Path):
    data = Noisy(count=1000)
    loader = DataLoader(data, 8, shuffle=True)

    def note(x: Tensor) -> Tensor:
        with (tmp_path / "reads").open("a") as file:  # the one trace that is not taken back
            file.write("x")
        return x

    data.transform = note
    examples, size = read_first_batches(loader, steps=5, seed=1)
    assert (examples.count, size, data.reads) == (40, 8, [])
    assert (tmp_path / "reads").read_text() == "x" * 40
    again, _ = read_first_batches(TensorDataset(data.x, data.x), steps=5, batch_size=8, seed=1)
    assert len(torch.unique(again.tensors[0], dim=0)) == 40


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"loader": 3}, "loader must be"),
        ({"model": nn.Linear}, "model must be an nn.Module"),
        ({"target": -1}, "target must be a positive"),
        ({"rounds": 0}, "suggest_lr: rounds must be a positive integer"),
        ({"seeds": "seed"}, "seeds must be a list of names"),
    ],
)
def test_a_wrong_argument_is_refused(wrong: dict[str, Any], text: str):
    with pytest.raises(UserError, match=text):
        suggested(new_study().ask(), **wrong)
    with pytest.raises(UserError, match="low must be a positive"):
        suggest_lr(new_study().ask(), "lr", 0, 1, **quadratic())


def test_the_recipe_of_the_readme_steers():
    x = torch.linspace(-1, 1, 64).unsqueeze(1)
    model = nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 1))
    trial, sgd = new_study().ask(), torch.optim.SGD(model.parameters(), lr=0.1)
    names = {"lyapopt": lyapopt, "trial": trial, "model": model, "optimizer": sgd}
    loader = DataLoader(TensorDataset(x, x.sin()), 16, shuffle=True)
    exec(recipe_with("suggest_lr(\n"), {**names, "loss_fn": nn.MSELoss(), "loader": loader})
    assert steering(trial._get_latest_trial())["status"] in ("crossed", "cold")
    assert sgd.param_groups[0]["lr"] == trial.params["lr"]


def test_the_recipe_of_the_readme_ranks_and_trains_the_best_in_full():
    trained: list[tuple[int, float]] = []

    def objective(trial: optuna.Trial, steps: int = 2000) -> float:
        seed = trial.suggest_int("seed", 0, 10**6)
        trained.append((steps, suggested(trial, reuse=0.3, seeds=["seed"])))
        return float(seed)

    names = {"study": new_study(), "objective": objective, "full": new_study(), "lyapopt": lyapopt}
    exec(recipe_with("enqueue_best("), names)
    ranked = sorted(names["study"].trials, key=lambda trial: trial.value)[:5]  # type: ignore[attr-defined]
    assert [steps for steps, _ in trained] == 60 * [75] + 5 * [2000]
    assert [rate for _, rate in trained[60:]] == [trial.params["lr"] for trial in ranked]
