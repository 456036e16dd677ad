"""What people do with trainers: fit again, search a grid, resume, compile, hand a trial over."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import optuna
import pytest
import skorch
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from test_callbacks import HORIZON, Module, Ordered, Regressor, X, Y, network
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from transformers import Trainer, TrainingArguments
from transformers.optimization import Adafactor

import lyapopt
from lyapopt.errors import UserError

BATCHES = 10
"""An epoch of the 80 examples."""


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def study_in(folder: Path) -> optuna.Study:
    return optuna.create_study(storage=f"sqlite:///{folder}/study.db", study_name="s")


# skorch


def net(callback: Any, module: Any = None, **options: Any) -> Any:
    settings: dict[str, Any] = {
        "criterion": nn.MSELoss,
        "optimizer": torch.optim.SGD,
        "lr": 0.1,
        "max_epochs": 1,
        "batch_size": 8,
        "train_split": None,
        "verbose": 0,
        "callbacks": [("watch", callback)],
    }
    return skorch.NeuralNetRegressor(module or network(), **settings | options)


def test_clones_of_a_skorch_callback_have_its_arguments_and_its_trial(tmp_path: Path) -> None:
    trial = study_in(tmp_path).ask()
    given = lyapopt.SkorchWatch(trial, horizon=7, prune=False)
    net(given).fit(X.numpy(), Y.numpy())
    cloned = clone(given)
    assert cloned.get_params() == given.get_params()
    assert cloned.horizon == 7
    assert cloned.trial is trial
    assert given.monitor is not None
    assert cloned.monitor is None


def test_folds_of_a_cross_validation_add_up_in_their_trial(tmp_path: Path) -> None:
    study = study_in(tmp_path)
    trial = study.ask()
    callback = lyapopt.SkorchWatch(trial, horizon=4)
    cross_val_score(net(callback), X.numpy(), Y.numpy(), cv=2, error_score="raise")
    study.tell(trial, 1.0)
    assert callback.monitor is None  # it was cloned
    found = study.trials[0].user_attrs
    assert found["verdict"] in ("edge", "neutral", "contracting")
    assert found["gradient_evaluations"] == 2 * (2 * 4 + BATCHES // 2)
    with lyapopt.TrajectoryStore(f"sqlite:///{tmp_path}/study.db", create=False) as store:
        assert store.runs()["state"].tolist() == ["complete"]


def test_a_grid_search_watches_every_candidate() -> None:
    grid = {"lr": [0.1, 0.2], "callbacks__watch__horizon": [3]}
    found = GridSearchCV(
        net(lyapopt.SkorchWatch(horizon=100)), grid, cv=2, error_score="raise"
    ).fit(X.numpy(), Y.numpy())
    [watched] = [c for _, c in found.best_estimator_.callbacks_ if hasattr(c, "monitor")]
    assert watched.horizon == 3
    assert watched.monitor.is_done


def test_partial_fits_are_one_training_and_a_second_fit_is_another() -> None:
    whole, parts = lyapopt.SkorchWatch(horizon=15), lyapopt.SkorchWatch(horizon=15)
    net(whole, max_epochs=2).fit(X.numpy(), Y.numpy())
    training = net(parts)
    training.partial_fit(X.numpy(), Y.numpy())
    monitor = parts.monitor
    training.partial_fit(X.numpy(), Y.numpy())
    assert whole.monitor is not None
    assert parts.monitor is monitor
    assert monitor is not None
    assert monitor.exponent == whole.monitor.exponent
    assert monitor.gradient_evaluations == 2 * 15 + 2 * BATCHES
    training.fit(X.numpy(), Y.numpy())
    assert parts.monitor is not monitor


def test_a_partial_fit_from_other_weights_is_measured_anew() -> None:
    callback = lyapopt.SkorchWatch(horizon=15)
    training = net(callback)
    training.partial_fit(X.numpy(), Y.numpy())
    monitor = callback.monitor
    with torch.no_grad():
        training.module_[0].weight.mul_(2)
    training.partial_fit(X.numpy(), Y.numpy())
    assert callback.monitor is not monitor


def test_copies_and_pickles_of_a_fitted_net_know_what_was_measured(tmp_path: Path) -> None:
    trial = study_in(tmp_path).ask()
    callback = lyapopt.SkorchWatch(trial, horizon=4)
    fitted = net(callback).fit(X.numpy(), Y.numpy())
    assert callback.monitor is not None
    cost = trial.user_attrs["gradient_evaluations"]
    for copied in (copy.deepcopy(fitted), pickle.loads(pickle.dumps(fitted))):
        [watched] = [c for _, c in copied.callbacks_ if hasattr(c, "monitor")]
        assert watched.monitor.exponent == callback.monitor.exponent
        assert watched.trial.number == trial.number
        copied.fit(X.numpy(), Y.numpy())
        assert watched.monitor.is_done
    assert study_in_storage(trial)["gradient_evaluations"] > cost


def study_in_storage(trial: optuna.Trial) -> dict[str, Any]:
    return trial.study.get_trials(deepcopy=False)[trial.number].user_attrs


def test_a_trial_in_memory_stays_in_its_process_and_that_is_said() -> None:
    callback = lyapopt.SkorchWatch(optuna.create_study().ask())
    with pytest.warns(UserWarning, match="in memory and stays in this process"):
        assert pickle.loads(pickle.dumps(callback)).trial is None
    assert copy.deepcopy(callback).trial is callback.trial


# Lightning


class Validated(Module):
    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        return nn.functional.mse_loss(self.network(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("v", nn.functional.mse_loss(self.network(batch[0]), batch[1]))


def loader() -> Any:
    return DataLoader(TensorDataset(X, Y), batch_size=8)


def trainer(folder: Path, callback: Any, **options: Any) -> pl.Trainer:
    settings: dict[str, Any] = {
        "max_epochs": 1,
        "callbacks": [callback],
        "accelerator": "cpu",
        "devices": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "default_root_dir": folder,
    }
    return pl.Trainer(**settings | options)


def test_lightning_may_fit_twice_validate_alone_and_resume(tmp_path: Path) -> None:
    callback = lyapopt.LightningWatch(horizon=HORIZON)
    module, first = Validated(), trainer(tmp_path, callback)
    first.validate(module, loader(), verbose=False)
    assert callback.monitor is None
    first.fit(module, loader(), loader())
    fresh = callback.monitor
    assert fresh is not None
    first.save_checkpoint(tmp_path / "one.ckpt")

    trainer(tmp_path, callback).fit(Validated(), loader())
    assert callback.monitor is not None
    assert callback.monitor is not fresh
    assert callback.monitor.exponent == fresh.exponent

    trainer(tmp_path, callback, max_epochs=2).fit(
        Validated(), loader(), ckpt_path=tmp_path / "one.ckpt", weights_only=False
    )
    # From the weights and the momentum of the checkpoint.
    expected = by_hand(module.network, first.optimizers[0], range(BATCHES))
    assert callback.monitor.exponent == pytest.approx(expected, rel=1e-6)
    assert callback.monitor.exponent != pytest.approx(fresh.exponent, rel=1e-2)
    assert callback.monitor.gradient_evaluations == 2 * HORIZON + BATCHES


class Skipping(Validated):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx in (0, 3) else super().training_step(batch, batch_idx)


def test_batches_that_lightning_skips_are_skipped(tmp_path: Path) -> None:
    callback, module = lyapopt.LightningWatch(horizon=HORIZON), Skipping()
    trainer(tmp_path, callback).fit(module, loader())
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    expected = by_hand(model, optimizer, [k for k in range(BATCHES) if k not in (0, 3)])
    assert callback.monitor is not None
    assert callback.monitor.exponent == pytest.approx(expected, rel=1e-6)


def by_hand(model: Any, optimizer: Any, batches: Any) -> float | None:
    loss_fn = nn.functional.mse_loss
    monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=HORIZON)
    for k in batches:
        monitor.observe(X.split(8)[k], Y.split(8)[k])
    return monitor.exponent


class TwoOptimizers(Validated):
    automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(part.parameters(), 0.1) for part in self.network[::2]]


def test_several_optimizers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="a module with 2 optimizers cannot be watched"):
        trainer(tmp_path, lyapopt.LightningWatch()).fit(TwoOptimizers(), loader())


@pytest.mark.slow
def test_several_devices_are_refused_in_every_process(tmp_path: Path) -> None:
    many = trainer(tmp_path, lyapopt.LightningWatch(), devices=2, strategy="ddp_spawn")
    with pytest.raises(Exception, match="a training on 2 devices cannot be watched"):
        many.fit(Validated(), loader())


def test_several_devices_are_refused(tmp_path: Path) -> None:
    callback = lyapopt.LightningWatch()
    many = trainer(tmp_path, callback, devices=2, strategy="ddp_spawn")
    with pytest.raises(UserError, match="a training on 2 devices cannot be watched"):
        callback.on_train_start(many, Validated())


# Transformers


DATA = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]


class Loose(Regressor):
    """With the keywords that a compiled model is called with."""

    def forward(self, x: Tensor, labels: Tensor | None = None, **_: Any) -> dict[str, Tensor]:
        return super().forward(x, labels)


def arguments(folder: Path, **options: Any) -> TrainingArguments:
    settings = {
        "output_dir": str(folder),
        "num_train_epochs": 1,
        "per_device_train_batch_size": 8,
        "max_grad_norm": 0.0,
        "learning_rate": 0.05,
        "report_to": [],
        "save_strategy": "no",
        "use_cpu": True,
        "disable_tqdm": True,
        "remove_unused_columns": False,
        "label_names": ["labels"],
    }
    return TrainingArguments(**settings | options)


def test_transformers_follows_adafactor_and_warm_up(tmp_path: Path) -> None:
    options = {"optim": "adafactor", "lr_scheduler_type": "constant_with_warmup"}
    training = Ordered(
        Regressor(), arguments(tmp_path, warmup_steps=4, **options), train_dataset=DATA
    )
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON)
    training.add_callback(callback)
    training.train()

    model = network()
    matrices, biases = ([p for p in model.parameters() if p.ndim == n] for n in (2, 1))
    optimizer = Adafactor(
        [{"params": matrices}, {"params": biases}],
        lr=0.05,
        scale_parameter=False,
        relative_step=False,
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 4, 1.0))
    loss_fn = nn.functional.mse_loss
    monitor = lyapopt.watch(None, model, optimizer, loss_fn, horizon=HORIZON)
    for x, y in zip(X.split(8), Y.split(8), strict=True):
        monitor.observe(x, y)
        schedule.step()
    assert callback.monitor is not None
    assert callback.monitor.exponent == pytest.approx(monitor.exponent, rel=1e-6)
    assert abs(callback.monitor.exponent or 0) > 1e-3


def test_transformers_may_resume_from_a_checkpoint(tmp_path: Path) -> None:
    options = {"optim": "adamw_torch", "weight_decay": 0.1, "lr_scheduler_type": "constant"}
    saved = arguments(tmp_path, save_strategy="epoch", **options)
    first = Ordered(Regressor(), saved, train_dataset=DATA)
    first.train()
    training = Ordered(
        Regressor(), arguments(tmp_path, num_train_epochs=2, **options), train_dataset=DATA
    )
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON)
    training.add_callback(callback)
    training.train(resume_from_checkpoint=True)
    expected = by_hand(first.model.network, first.optimizer.optimizer, range(BATCHES))
    assert callback.monitor is not None
    assert callback.monitor.exponent == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("suggest_lr", [None, ("learning_rate", 1e-3, 1.0)])
def test_a_search_of_transformers_hands_its_trials_over(tmp_path: Path, suggest_lr: Any) -> None:
    training = Trainer(
        None,
        arguments(tmp_path, optim="sgd"),
        train_dataset=DATA,
        eval_dataset=DATA,
        model_init=lambda trial=None: Regressor(),
    )
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON, suggest_lr=suggest_lr)
    training.add_callback(callback)
    rates = [0.1, 1e6]
    training.hyperparameter_search(
        lambda trial: (
            {} if suggest_lr else {"learning_rate": trial.suggest_categorical("lr", rates)}
        ),
        backend="optuna",
        n_trials=2,
        storage=f"sqlite:///{tmp_path}/study.db",
        study_name="s",
        sampler=None if suggest_lr else optuna.samplers.GridSampler({"lr": rates}, seed=0),
        pruner=lyapopt.LyapunovPruner(slow=None),
    )
    study = optuna.load_study(study_name="s", storage=f"sqlite:///{tmp_path}/study.db")
    if suggest_lr:
        assert all("learning_rate" in trial.params for trial in study.trials)
        assert {trial.user_attrs["verdict"] for trial in study.trials} <= {
            "edge",
            "neutral",
            "contracting",
        }
    else:
        good, bad = sorted(study.trials, key=lambda trial: trial.params["lr"])
        assert (good.state.name, good.user_attrs["verdict"]) == ("COMPLETE", "neutral")
        assert (bad.state.name, bad.user_attrs["verdict"]) == ("PRUNED", "diverged")
    with lyapopt.TrajectoryStore(f"sqlite:///{tmp_path}/study.db", create=False) as store:
        assert len(store.runs()) == 2


def test_a_search_of_transformers_in_two_threads_is_refused(tmp_path: Path) -> None:
    training = Trainer(Regressor(), arguments(tmp_path), train_dataset=DATA)
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON)
    training.add_callback(callback)
    is_training, may_end = threading.Event(), threading.Event()
    compute_loss = training.compute_loss

    def waiting(*args: Any, **kwargs: Any) -> Any:
        is_training.set()
        may_end.wait()
        return compute_loss(*args, **kwargs)

    type(training).compute_loss, before = staticmethod(waiting), type(training).compute_loss
    thread = threading.Thread(target=training.train)
    try:
        thread.start()
        is_training.wait()
        with pytest.raises(UserError, match="trains in two threads"):
            callback.on_train_begin(training.args, training.state, training.control)
    finally:
        may_end.set()
        thread.join()
        type(training).compute_loss = before
    assert callback.monitor is not None
    assert callback.monitor.is_done


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        yield from DATA


def test_a_rate_on_a_stream_of_data_is_drawn_with_the_reason(tmp_path: Path) -> None:
    training = Trainer(Regressor(), arguments(tmp_path, max_steps=2), train_dataset=Stream())
    trial = optuna.create_study().ask()
    training.add_callback(lyapopt.TransformersWatch(training, trial, suggest_lr=("lr", 1e-3, 1.0)))
    training.train()
    assert "has no examples to draw again" in trial.user_attrs["lyapopt:steering"]["reason"]


def test_a_rate_is_not_steered_without_a_trial(tmp_path: Path) -> None:
    training = Trainer(Regressor(), arguments(tmp_path), train_dataset=DATA)
    with pytest.raises(UserError, match="suggest_lr must be a name and a range"):
        lyapopt.TransformersWatch(training, suggest_lr="lr")
    training.add_callback(lyapopt.TransformersWatch(training, suggest_lr=("lr", 1e-3, 1.0)))
    with pytest.raises(UserError, match="trial must be a trial of Optuna's"):
        training.train()


def test_a_callback_of_transformers_is_copied_with_its_trainer_alone(tmp_path: Path) -> None:
    training = Trainer(Regressor(), arguments(tmp_path), train_dataset=DATA)
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON)
    training.add_callback(callback)
    copied = copy.deepcopy(training)
    copied.train()
    assert callback.monitor is None
    [watched] = [c for c in copied.callback_handler.callbacks if hasattr(c, "monitor")]
    assert watched.monitor.is_done
    with pytest.raises(UserError, match="cannot be pickled, since its trainer cannot"):
        pickle.dumps(callback)


# Compiled models


def by_loop(folder: Path, change: Any) -> float | None:
    model = change(network())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=HORIZON)
    for x, y in zip(X.split(8), Y.split(8), strict=True):
        monitor.observe(x, y)
        optimizer.zero_grad()
        nn.functional.mse_loss(model(x), y).backward()
        optimizer.step()
    return monitor.exponent


def by_lightning(folder: Path, change: Any) -> float | None:
    callback = lyapopt.LightningWatch(horizon=HORIZON)
    trainer(folder, callback).fit(change(Validated()), loader())
    return callback.monitor and callback.monitor.exponent


def by_skorch(folder: Path, change: Any) -> float | None:
    callback = lyapopt.SkorchWatch(horizon=HORIZON)
    net(callback, change(network())).fit(X.numpy(), Y.numpy())
    return callback.monitor and callback.monitor.exponent


def by_transformers(folder: Path, change: Any) -> float | None:
    training = Ordered(change(Loose()), arguments(folder), train_dataset=DATA)
    callback = lyapopt.TransformersWatch(training, horizon=HORIZON)
    training.add_callback(callback)
    training.train()
    return callback.monitor and callback.monitor.exponent


def whole(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def a_part(model: nn.Module) -> nn.Module:
    network = getattr(model, "network", model)
    network[0] = torch.compile(network[0], backend="eager")
    return model


@pytest.mark.parametrize("train", [by_loop, by_lightning, by_skorch, by_transformers])
def test_compiled_models_are_measured_as_their_originals(tmp_path: Path, train: Any) -> None:
    plain = train(tmp_path, lambda model: model)
    assert plain is not None
    for change in (whole, in_place, a_part):
        assert train(tmp_path, change) == plain, change


WATCHES = [lyapopt.LightningWatch, lyapopt.SkorchWatch, lyapopt.TransformersWatch]


@pytest.mark.parametrize("watch", WATCHES)
def test_arguments_of_the_wrong_type_are_refused_before_a_training(
    tmp_path: Path, watch: type
) -> None:
    first: tuple[Any, ...] = ()
    if watch is lyapopt.TransformersWatch:
        first = (Trainer(nn.Linear(1, 1), arguments(tmp_path)),)
        with pytest.raises(UserError, match="TransformersWatch: trainer must be"):
            watch(5)
    for wrong in (
        {"trial": 5},
        {"prune": "no"},
        {"horizon": 0},
        {"neighbours": 1.5},
        {"radius": "small"},
        {"rule": "hot"},
        {"seed": None},
        {"record": "yes"},
        {"store": "sqlite:///runs.db"},
    ):
        [name] = wrong
        with pytest.raises(UserError, match=f"{watch.__name__}: {name} must be"):
            watch(*first, **wrong)
