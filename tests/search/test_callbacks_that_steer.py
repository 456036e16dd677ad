"""The learning rate of a library's trainer, steered before its first step."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import optuna
import pytest
import skorch
import torch
from skorch.callbacks import LRScheduler
from test_callbacks import Module, Ordered, Regressor, X, Y, lightning, network
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler
from transformers import Trainer, TrainingArguments

import lyapopt
from lyapopt import UserError
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.search.probing.records import STEERING
from lyapopt.search.steering.growth import settled_exponent

RANGE = ("lr", 1e-3, 10.0)
HORIZON = 8


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def new_trial() -> optuna.Trial:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(0)).ask()


def measured_by_hand(rate: float) -> float:
    """The exponent of a plain loop at one rate, as steering sees it."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9)
    monitor = lyapopt.watch(
        None,
        model,
        optimizer,
        nn.functional.mse_loss,
        horizon=HORIZON,
        seed=derive_seed(0, 0, "lr"),
    )
    for x, y in zip(X.split(8), Y.split(8), strict=True):
        monitor.observe(x, y)
    assert monitor.measurement is not None
    return settled_exponent(monitor.measurement)


class Warming(Module):
    """A schedule whose first rate is zero."""

    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(step / 5, 1.0))
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def by_lightning(folder: Path, lr: float, callback: Any) -> Any:
    module = Warming(lr)
    lightning(folder, callback, module)
    return module


def by_skorch(folder: Path, lr: float, callback: Any) -> Any:
    schedule = LRScheduler("LambdaLR", lr_lambda=lambda epoch: 0.9**epoch)
    own = [] if callback is None else [("watch", callback)]
    return (
        skorch.NeuralNetRegressor(
            network(),
            criterion=nn.MSELoss,
            optimizer=torch.optim.SGD,
            optimizer__momentum=0.9,
            lr=lr,
            max_epochs=3,
            batch_size=8,
            train_split=None,
            verbose=0,
            callbacks=[("schedule", schedule), *own],
        )
        .fit(X.numpy(), Y.numpy())
        .module_
    )


def an_idle_trainer() -> Any:
    """One to name a callback's own; `by_transformers` puts that which trains in its place."""
    return Trainer(Regressor(), TrainingArguments(use_cpu=True, report_to=[]))


def by_transformers(folder: Path, lr: float, callback: Any) -> Any:
    arguments = TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=3,
        per_device_train_batch_size=8,
        learning_rate=lr,
        optim="sgd",
        lr_scheduler_type="linear",
        warmup_steps=5,
        max_grad_norm=0.0,
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
    )
    data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    torch.manual_seed(0)
    trainer = Ordered(Regressor(), arguments, train_dataset=data)
    if callback is not None:
        callback._trainer = trainer
        trainer.add_callback(callback)
    trainer.train()
    return trainer.model


TRAINERS = {"lightning": by_lightning, "skorch": by_skorch, "transformers": by_transformers}


def callback_of(library: str, trial: Any, **options: Any) -> Any:
    options = {"horizon": HORIZON, "suggest_lr": RANGE, **options}
    match library:
        case "lightning":
            return lyapopt.LightningWatch(trial, **options)
        case "skorch":
            return lyapopt.SkorchWatch(trial, **options)
        case _:
            return lyapopt.TransformersWatch(an_idle_trainer(), trial, **options)


@pytest.mark.parametrize("library", TRAINERS)
def test_a_trainer_trains_as_if_the_steered_rate_had_been_its_own(
    library: str, tmp_path: Path
) -> None:
    trial, train = new_trial(), TRAINERS[library]
    steered = train(tmp_path, 0.123, callback_of(library, trial))
    kept = trial._get_latest_trial()
    assert kept.user_attrs[STEERING]["status"] == "crossed", kept.user_attrs[STEERING]
    rate = kept.params["lr"]
    if library != "transformers":  # which has no momentum here, and shuffles
        for probed, exponent, _ in kept.user_attrs[STEERING]["probes"]:
            assert exponent == pytest.approx(measured_by_hand(probed), rel=1e-4, abs=1e-6)
    plain = train(tmp_path, rate, pl.Callback() if library == "lightning" else None)
    pairs = zip(steered.parameters(), plain.parameters(), strict=True)
    for a, b in pairs:
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    own = 30 + 2 * HORIZON  # of the loop itself, and of the copies that watch it
    cost = kept.user_attrs[STEERING]["gradient_evaluations"]
    assert kept.user_attrs["gradient_evaluations"] == cost + own
    assert cost % (2 * HORIZON) == 0


def test_the_module_knows_the_rate_as_after_a_range_test(tmp_path: Path) -> None:
    trial = new_trial()
    module = by_lightning(tmp_path, 0.123, callback_of("lightning", trial))
    assert module.lr == trial.params["lr"]
    again = by_lightning(tmp_path, 0.123, callback_of("lightning", trial))  # the same trial
    assert again.lr == module.lr


class OneCycle(Module):
    def configure_optimizers(self) -> Any:
        optimizer = super().configure_optimizers()
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.5, total_steps=31)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


def test_of_a_schedule_with_rates_of_its_own_the_peak_is_steered(tmp_path: Path) -> None:
    trial, module = new_trial(), OneCycle()
    lightning(tmp_path, callback_of("lightning", trial), module)
    [group] = module.optimizers().param_groups
    assert group["max_lr"] == pytest.approx(trial.params["lr"])
    assert group["initial_lr"] == pytest.approx(trial.params["lr"] / 25)


@pytest.mark.parametrize(
    ("policy", "options", "peak"),
    [
        ("CyclicLR", {"base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False}, "max_lrs"),
        ("WarmRestartLR", {}, "max_lr"),
        ("ExponentialLR", {"gamma": 0.9}, "base_lrs"),
    ],
)
def test_skorch_steers_schedules_that_are_made_after_its_callback(
    policy: str, options: Any, peak: str
) -> None:
    trial = new_trial()
    schedule = LRScheduler(policy, **options)
    callbacks = [("watch", callback_of("skorch", trial)), ("schedule", schedule)]
    training = skorch.NeuralNetRegressor(
        network(),
        optimizer=torch.optim.SGD,
        lr=0.123,
        max_epochs=1,
        batch_size=8,
        train_split=None,
        verbose=0,
        callbacks=callbacks,
    ).fit(X.numpy(), Y.numpy())
    [rate] = getattr(schedule_of(training), peak)
    assert rate == pytest.approx(trial.params["lr"])
    assert training.optimizer_.param_groups[0]["lr"] <= 1.01 * rate


def schedule_of(training: Any) -> Any:
    [found] = [c.lr_scheduler_ for _, c in training.callbacks_ if isinstance(c, LRScheduler)]
    return found


def test_skorch_steers_what_is_trained_after_other_callbacks_have_frozen_the_rest() -> None:
    def probes(*, is_first: bool) -> Any:
        trial = new_trial()
        watch = ("watch", callback_of("skorch", trial))
        freeze = ("freeze", skorch.callbacks.Freezer("0.*"))
        skorch.NeuralNetRegressor(
            network(),
            optimizer=torch.optim.SGD,
            max_epochs=1,
            batch_size=8,
            train_split=None,
            verbose=0,
            callbacks=[watch, freeze] if is_first else [freeze, watch],
        ).fit(X.numpy(), Y.numpy())
        return trial._get_latest_trial().user_attrs[STEERING]["probes"]

    assert probes(is_first=True) == probes(is_first=False)


def test_what_cannot_be_probed_trains_at_the_rate_that_the_sampler_draws(tmp_path: Path) -> None:
    trial, module = new_trial(), Module()
    sampler = WeightedRandomSampler([1.0] * 80, 80)
    callback = callback_of("lightning", trial)
    trainer = pl.Trainer(
        max_steps=2,
        callbacks=[callback],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(module, DataLoader(TensorDataset(X, Y), 8, sampler=sampler))
    reason = trial._get_latest_trial().user_attrs[STEERING]["reason"]
    assert "sampler or batch_sampler of its own" in reason
    assert module.lr == trainer.optimizers[0].param_groups[0]["lr"] == trial.params["lr"]
    assert trial.params["lr"] == new_trial().suggest_float(*RANGE, log=True)


@pytest.mark.parametrize("library", TRAINERS)
def test_a_wrong_option_is_refused_at_once(library: str) -> None:
    if library != "transformers":  # a search hands its trial over when the training begins
        with pytest.raises(UserError, match="trial must be a trial of Optuna's"):
            callback_of(library, None)
    with pytest.raises(UserError, match="suggest_lr must be a name and a range"):
        callback_of(library, new_trial(), suggest_lr="lr")
    with pytest.raises(UserError, match="low must be a positive"):
        callback_of(library, new_trial(), suggest_lr=("lr", 0, 1))
