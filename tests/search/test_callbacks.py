"""The same network watched by a plain loop and by each library's trainer: the same exponent."""

from __future__ import annotations

import random
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import optuna
import pytest
import pytorch_lightning as other
import skorch
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from skorch.callbacks import GradientNormClipping
from skorch.hf import AccelerateMixin
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import PreTrainedConfig, PreTrainedModel, Trainer, TrainingArguments

import lyapopt
from lyapopt.errors import UserError

HORIZON = 6
CLIP = 0.05
draw = torch.Generator().manual_seed(0)
X = torch.randn(80, 3, generator=draw)
Y = X.sum(1, keepdim=True).sin()


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))


def by_hand(accumulate: int = 1, clip: float | None = None, lr: float = 0.3) -> float:
    """The exponent of a plain loop over batches of 8, in order, twice."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    monitor = lyapopt.watch(
        None,
        model,
        optimizer,
        nn.functional.mse_loss,
        horizon=HORIZON,
        accumulate=None,
        clip_grad_norm=clip,
    )
    for _ in range(3):
        batches = list(zip(X.split(8), Y.split(8), strict=True))
        for k, (x, y) in enumerate(batches):
            monitor.observe_loss(
                lambda m, batch: nn.functional.mse_loss(m(batch[0]), batch[1]),
                (x, y),
                1 / accumulate,
            )
            if (k + 1) % accumulate == 0:
                monitor.step()
    assert monitor.exponent is not None
    return monitor.exponent


# Lightning


class Module(pl.LightningModule):
    def __init__(self, lr: float = 0.3) -> None:
        super().__init__()
        self.network = network()
        self.lr = lr

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        loss = nn.functional.mse_loss(self.network(batch[0]), batch[1])
        self.log("loss", loss, prog_bar=True)
        assert self.trainer.current_epoch >= 0
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def lightning(folder: Path, callback: Any, module: Any = None, **options: Any) -> Any:
    trainer = pl.Trainer(
        **{"max_epochs": 3, **options},
        callbacks=[callback],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=folder,
    )
    module = module or Module()
    trainer.fit(module, DataLoader(TensorDataset(X, Y), batch_size=8))
    return module


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("precision", ["32-true", "64-true", "bf16-mixed"])
def test_lightning_measures_what_a_plain_loop_does(
    tmp_path: Path, accumulate: int, precision: Any
) -> None:
    callback = lyapopt.LightningWatch(horizon=HORIZON)
    lightning(tmp_path, callback, precision=precision, accumulate_grad_batches=accumulate)
    assert callback.monitor.exponent == pytest.approx(by_hand(accumulate), rel=1e-6)


def test_lightning_follows_clipping_by_norm(tmp_path: Path) -> None:
    callback = lyapopt.LightningWatch(horizon=HORIZON)
    lightning(tmp_path, callback, gradient_clip_val=CLIP)
    assert callback.monitor.exponent == pytest.approx(by_hand(clip=CLIP), rel=1e-6)
    assert callback.monitor.exponent != pytest.approx(by_hand(), rel=1e-3)


def test_lightning_steps_at_the_end_of_an_epoch_with_what_there_is(tmp_path: Path) -> None:
    callback = lyapopt.LightningWatch(horizon=4)  # 10 batches by 4: two whole steps and a half
    lightning(tmp_path, callback, accumulate_grad_batches=4)
    assert callback.monitor.gradient_evaluations == 2 * (10 + 4) + 30


def test_the_package_pytorch_lightning_works_as_well(tmp_path: Path) -> None:

    class OtherModule(other.LightningModule):  # type: ignore[name-defined, misc]
        training_step = Module.training_step
        configure_optimizers = Module.configure_optimizers

        def __init__(self) -> None:
            super().__init__()
            self.network, self.lr = network(), 0.3

    callback = lyapopt.LightningWatch(horizon=HORIZON)
    trainer = other.Trainer(
        max_epochs=1,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(OtherModule(), DataLoader(TensorDataset(X, Y), batch_size=8))
    assert callback.monitor.exponent == pytest.approx(by_hand(), rel=1e-6)


class OwnSteps(Module):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        super().optimizer_step(*args, **kwargs)


class Manual(Module):
    automatic_optimization = False


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (OwnSteps, {}, "optimizer_step of its own"),
        (Manual, {}, "steps its optimizers itself"),
        (Module, {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"}, "by value"),
    ],
)
def test_lightning_refuses_what_it_cannot_follow(
    tmp_path: Path, module: Any, options: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        lightning(tmp_path, lyapopt.LightningWatch(), module(), **options)


# Transformers


class Regressor(PreTrainedModel):  # type: ignore[misc]
    config_class = PreTrainedConfig

    def __init__(self) -> None:
        super().__init__(PreTrainedConfig())
        self.network = network()

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        found = {"logits": self.network(x)}
        if labels is not None:
            found["loss"] = nn.functional.mse_loss(found["logits"], labels)
        return found


class Ordered(Trainer):  # type: ignore[misc]
    def _get_train_sampler(self, dataset: Any = None) -> None:
        return None


def transformers(
    folder: Path, trial: Any = None, lr: float = 0.3, **options: Any
) -> tuple[Any, Any]:
    arguments = TrainingArguments(
        output_dir=str(folder),
        **{
            "num_train_epochs": 3,
            "per_device_train_batch_size": 8,
            "max_grad_norm": 0.0,
            "learning_rate": lr,
            "lr_scheduler_type": "constant",
            "report_to": [],
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            **options,
        },
    )
    model = Regressor()
    data = [{"x": x, "labels": y} for x, y in zip(X, Y, strict=True)]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    trainer = Ordered(model, arguments, train_dataset=data, optimizers=(optimizer, None))
    callback = lyapopt.TransformersWatch(trainer, trial, horizon=HORIZON)
    trainer.add_callback(callback)
    return trainer, callback


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"gradient_accumulation_steps": 2}, {"accumulate": 2}),
        ({"bf16": True}, {}),
        ({"max_grad_norm": CLIP}, {"clip": CLIP}),
    ],
    ids=["plain", "accumulated", "bf16", "clipped"],
)
def test_transformers_measures_what_a_plain_loop_does(
    tmp_path: Path, options: Any, expected: Any
) -> None:
    trainer, callback = transformers(tmp_path, **options)
    trainer.train()
    assert callback.monitor.exponent == pytest.approx(by_hand(**expected), rel=1e-6)
    assert "compute_loss" not in vars(trainer)


def test_transformers_follows_a_loss_function_of_the_users(tmp_path: Path) -> None:
    trainer, callback = transformers(tmp_path)

    def loss(outputs: Any, labels: Tensor, num_items_in_batch: Any) -> Tensor:
        return 0 * nn.functional.mse_loss(outputs["logits"], labels)

    trainer.compute_loss_func = loss
    trainer.train()
    assert callback.monitor.verdict == "dead"


class OwnTrainingStep(Ordered):
    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        return super().training_step(*args, **kwargs)


def test_transformers_refuses_what_it_cannot_follow(tmp_path: Path) -> None:
    trainer, _ = transformers(tmp_path)
    own = OwnTrainingStep(trainer.model, trainer.args, train_dataset=trainer.train_dataset)
    own.add_callback(lyapopt.TransformersWatch(own))
    with pytest.raises(UserError, match="a training_step of its own"):
        own.train()
    with pytest.raises(UserError, match="the trainer comes first"):
        lyapopt.TransformersWatch(optuna.create_study().ask())


# skorch


def net(callback: Any, net_class: Any = skorch.NeuralNetRegressor, **options: Any) -> Any:
    callbacks = [("watch", callback), *options.pop("callbacks", [])]
    made = net_class(
        network(),
        **{
            "criterion": nn.MSELoss,
            "optimizer": torch.optim.SGD,
            "optimizer__momentum": 0.9,
            "lr": 0.3,
            "max_epochs": 3,
            "batch_size": 8,
            "train_split": None,
            "verbose": 0,
            "callbacks": callbacks,
            **options,
        },
    )
    return made.fit(X.numpy(), Y.numpy())


class Accelerated(AccelerateMixin, skorch.NeuralNetRegressor):  # type: ignore[misc]
    pass


class Accumulated(skorch.NeuralNetRegressor):  # type: ignore[misc]
    """Two batches a step, as skorch's documentation has it."""

    batches = 0

    def get_loss(self, *args: Any, **kwargs: Any) -> Tensor:
        return super().get_loss(*args, **kwargs) / 2

    def train_step(self, batch: Any, **fit_params: Any) -> Any:
        step = self.train_step_single(batch, **fit_params)
        self.batches += 1
        if self.batches % 2 == 0:
            self.optimizer_.step()
            self.optimizer_.zero_grad()
        return step


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {}),
        ({"train_split": skorch.dataset.ValidSplit(cv=5)}, None),
        ({"callbacks": [("clip", GradientNormClipping(CLIP))]}, {"clip": CLIP}),
        ({"net_class": Accumulated}, {"accumulate": 2}),
    ],
    ids=["plain", "validated", "clipped", "accumulated"],
)
def test_skorch_measures_what_a_plain_loop_does(options: Any, expected: Any) -> None:
    callback = lyapopt.SkorchWatch(horizon=HORIZON)
    net(callback, **options)
    assert callback.monitor.is_done
    if expected is not None:
        assert callback.monitor.exponent == pytest.approx(by_hand(**expected), rel=1e-6)


class Noisy(nn.Sequential):
    """Draws from three generators in every pass."""

    def forward(self, x: Tensor) -> Tensor:
        noise = random.random() + float(np.random.rand())
        outputs: Tensor = super().forward(nn.functional.dropout(x, 0.2, self.training))
        return outputs * (1 + noise * self.training)


@pytest.mark.parametrize("library", ["lightning", "transformers", "skorch"])
def test_trainers_train_the_same_network_with_and_without_the_callback(
    library: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = network
    monkeypatch.setitem(globals(), "network", lambda: Noisy(*plain()))

    def trained(is_watched: bool) -> tuple[list[bytes], object, list[int], bytes]:
        random.seed(1)
        np.random.seed(1)
        if library == "lightning":
            watch = lyapopt.LightningWatch(horizon=HORIZON)
            model = lightning(tmp_path, watch if is_watched else pl.Callback())
        elif library == "skorch":
            watch = lyapopt.SkorchWatch(horizon=HORIZON)
            model = net(watch if is_watched else skorch.callbacks.PassthroughScoring("x")).module_
        else:
            trainer, watch = transformers(tmp_path)
            if not is_watched:
                trainer.remove_callback(watch)
            trainer.train()
            model = trainer.model
        assert not is_watched or watch.monitor.is_done
        return (
            [p.detach().numpy().tobytes() for p in model.parameters()],
            random.getstate(),
            np.random.get_state()[1].tolist(),
            torch.get_rng_state().numpy().tobytes(),
        )

    assert trained(True) == trained(False)


def test_what_skorch_freezes_after_the_watch_has_begun_is_measured_frozen() -> None:
    callback = lyapopt.SkorchWatch(horizon=HORIZON)
    net(callback, callbacks=[("freeze", skorch.callbacks.Freezer("0.*"))])
    model = network()
    for parameter in model[0].parameters():
        parameter.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    monitor = lyapopt.watch(None, model, optimizer, nn.functional.mse_loss, horizon=HORIZON)
    for x, y in zip(X.split(8), Y.split(8), strict=True):
        monitor.observe(x, y)
    assert callback.monitor.exponent == pytest.approx(monitor.exponent, rel=1e-6)
    assert callback.monitor.exponent != pytest.approx(by_hand(), rel=1e-3)


@pytest.mark.parametrize(("precision", "accumulate"), [("bf16", 1), ("no", 2)])
def test_skorch_follows_accelerate(precision: str, accumulate: int) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # one a process otherwise
    accelerator = Accelerator(
        cpu=True, mixed_precision=precision, gradient_accumulation_steps=accumulate
    )
    callback = lyapopt.SkorchWatch(horizon=HORIZON)
    net(callback, Accelerated, accelerator=accelerator)
    assert callback.monitor.exponent == pytest.approx(by_hand(accumulate), rel=1e-6)


class Searching(torch.optim.LBFGS):
    def __init__(self, params: Any, lr: float, momentum: float) -> None:
        super().__init__(params, lr)


def test_skorch_refuses_an_optimizer_that_evaluates_the_loss_several_times() -> None:
    with pytest.raises(UserError, match="Searching evaluates the loss as often as it likes"):
        net(lyapopt.SkorchWatch(), optimizer=Searching)


# All of them


def train(library: str, folder: Path, trial: Any, lr: float, **options: Any) -> None:
    if library == "lightning":
        callback = lyapopt.LightningWatch(trial, **options)
        lightning(folder, callback, Module(lr))
    elif library == "skorch":
        net(lyapopt.SkorchWatch(trial, **options), lr=lr)
    else:
        transformers(folder, trial, lr)[0].train()


@pytest.mark.parametrize("library", ["lightning", "skorch", "transformers"])
def test_a_trial_gets_its_exponent_and_is_pruned_when_it_is_hot(
    library: str, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    study = optuna.create_study(storage=url, pruner=lyapopt.LyapunovPruner(slow=None))
    for lr in (0.3, 1e6):
        trial = study.ask()
        try:
            train(library, tmp_path, trial, lr, horizon=HORIZON)
        except optuna.TrialPruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, 1.0)
    good, bad = study.trials
    assert good.state == optuna.trial.TrialState.COMPLETE
    assert good.user_attrs["exponent"] == pytest.approx(by_hand(), rel=0.2)
    assert good.user_attrs["gradient_evaluations"] == 2 * HORIZON + 30  # batches of the training
    assert bad.state == optuna.trial.TrialState.PRUNED
    assert bad.user_attrs["verdict"] in ("diverged", "hot")
    with lyapopt.TrajectoryStore(url, create=False) as store:
        runs = store.runs()
        assert runs["state"].tolist() == ["complete", "pruned"]
        assert runs["gradient_evaluations"][0] == 2 * HORIZON + 30
        assert runs["examples"][0] == 8 * (2 * HORIZON + 30)
        assert runs["steps"].tolist() == [30, len(store.array("loss", study.study_name, 1))]
        assert runs["reason"][1] == store.decisions()["reason"].item()
        assert store.array("weights", study.study_name, 0).shape == (HORIZON, 41)


def test_a_training_that_is_shorter_than_the_horizon_is_said_to_be(tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match="before the horizon of 100 steps"):
        train("skorch", tmp_path, None, 0.3, horizon=100)
    with pytest.warns(UserWarning, match="before the horizon of 100 steps"):
        train("lightning", tmp_path, None, 0.3, horizon=100)
