"""A callback for PyTorch Lightning."""

from __future__ import annotations

import inspect
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from lyapopt.dynamics.first_batches import first_batches
from lyapopt.errors import UserError
from lyapopt.search.callbacks.watching import Watching, refuse
from lyapopt.search.loop_probe import Loop

try:
    from lightning.pytorch import Callback, LightningModule
    from lightning.pytorch.utilities.parsing import lightning_hasattr, lightning_setattr
except ImportError:
    try:
        from pytorch_lightning import Callback, LightningModule
        from pytorch_lightning.utilities.parsing import lightning_hasattr, lightning_setattr
    except ImportError as error:
        raise UserError(
            "LightningWatch needs PyTorch Lightning: pip install 'lyapopt[lightning]'"
        ) from error

_OWN_STEPS = ("backward", "configure_gradient_clipping", "optimizer_step", "optimizer_zero_grad")
_WATCHED_PRECISIONS = ("Precision", "MixedPrecision", "DoublePrecision", "HalfPrecision")


class LightningWatch(Watching, Callback):  # type: ignore[misc]
    """`lyapopt.watch` as a callback of a Lightning `Trainer`.

    The copies are trained by the module's own `training_step`, in float64 whatever the precision
    of the trainer, one step for each of the trainer's: accumulated batches and clipping by norm are
    followed, and so are the learning rate of any scheduler and batches that are skipped. What
    the copies log goes nowhere.

    What cannot be followed is refused when the training begins: several devices, manual
    optimisation and several optimisers, a module with an `optimizer_step`, `backward` or clipping
    of its own, clipping by value, and precision plugins that replace layers. In 16-bit mixed
    precision a step that is skipped because its gradients overflowed is taken by the copies.

    Args:
        trial: Where exponent, verdict and cost go; `None` keeps them in `monitor` only.
        prune: Whether `optuna.TrialPruned` is raised when the pruner of the trial's study says to
            stop (see `Monitor.should_stop`).
        horizon, neighbours, radius, rule, seed, record, store: As for `lyapopt.watch`.
        suggest_lr: Name and range of the learning rate, `("lr", 1e-4, 1.0)`: before the first step
            it is steered as `lyapopt.suggest_lr` does, from `training_step` and the training
            data, and set in the optimiser, its schedules, and in `lr` or `learning_rate` of the
            module, as `Tuner.lr_find` does. Rates are probed without a schedule, and of one that
            warms up or turns round it is the largest.

    Example:
        >>> import optuna
        >>> trial = optuna.create_study().ask()
        >>> callback = LightningWatch(trial, horizon=10)  # Trainer(callbacks=[callback])
        >>> callback.monitor is None  # until the training begins
        True
    """

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Copy module and optimiser."""
        _check(trainer, pl_module)
        [optimizer] = trainer.optimizers
        if self.suggest_lr is not None and trainer.global_step == 0:
            loop = _loop(trainer, pl_module, optimizer)
            rate = self._steer(loop, [config.scheduler for config in trainer.lr_scheduler_configs])
            for name in ("lr", "learning_rate"):
                if lightning_hasattr(pl_module, name):
                    lightning_setattr(pl_module, name, rate)
        self._begin(pl_module, optimizer, trainer.gradient_clip_val or None)

    def on_train_batch_start(
        self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show the copies the batch."""
        assert self.monitor is not None
        with suppress(_NoLossError):
            self.monitor.observe_loss(
                lambda model, batch: _loss(model, trainer, batch, batch_idx),
                batch,
                1 / trainer.accumulate_grad_batches,
            )

    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
        """Let the copies step as well."""
        assert self.monitor is not None
        self.monitor.step()

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """Prune, if the pruner says so."""
        self._prune()

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Complete what is recorded; say so if the training was too short."""
        self._end()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Complete what is recorded."""
        self._close()


class _NoLossError(UserError):
    """Where `training_step` returns None, Lightning skips the batch, and copies do."""


def _check(trainer: Any, module: Any) -> None:
    if trainer.world_size > 1:
        refuse(
            f"LightningWatch: a training on {trainer.world_size} devices",
            "each would see its own batches only; use devices=1",
        )
    if len(trainer.optimizers) > 1:
        refuse(
            f"LightningWatch: a module with {len(trainer.optimizers)} optimizers",
            "a copy has one; watch a training with one optimizer",
        )
    if not module.automatic_optimization or not trainer.optimizers:
        refuse(
            "LightningWatch: a module that steps its optimizers itself",
            "use lyapopt.watch inside its training_step",
        )
    for name in _OWN_STEPS:
        if getattr(type(module), name) is not getattr(LightningModule, name, None) and (
            not _is_lightnings_own(getattr(type(module), name))
        ):
            refuse(
                f"LightningWatch: a module with {name} of its own",
                "its copies would step otherwise; use lyapopt.watch inside its training_step",
            )
    if "dataloader_iter" in inspect.signature(module.training_step).parameters:
        refuse("LightningWatch: a training_step that takes batches itself", "use lyapopt.watch")
    if trainer.gradient_clip_val and trainer.gradient_clip_algorithm == "value":
        refuse("LightningWatch: gradient clipping by value", "clip by norm")
    precision = type(trainer.precision_plugin).__name__
    if precision not in _WATCHED_PRECISIONS:
        refuse(f"LightningWatch: the precision plugin {precision}", "use another precision")


def _loop(trainer: Any, module: Any, optimizer: torch.optim.Optimizer) -> Loop:
    """The training before its first step."""

    def batches(count: int) -> list[Any]:
        loader = trainer.train_dataloader
        if not isinstance(loader, DataLoader):
            name = type(loader).__name__
            raise UserError(f"LightningWatch: batches are drawn from one DataLoader, not a {name}")
        found = first_batches(loader, count)
        return [trainer.strategy.batch_to_device(batch) for batch in found]

    def loss_of(model: Any, batch: Any) -> Tensor:
        return _loss(model, trainer, batch, 0)

    clip = trainer.gradient_clip_val or None
    return Loop(module, optimizer, batches, loss_of, trainer.accumulate_grad_batches, clip)


def _is_lightnings_own(function: Any) -> bool:
    """Also of the other of the two packages that Lightning comes in."""
    return function.__module__.split(".")[0] in ("lightning", "pytorch_lightning")


def _loss(model: Any, trainer: Any, batch: Any, batch_idx: int) -> Tensor:
    """The loss of a copy by its own `training_step`."""
    for part in model.modules():
        if _is_lightnings_own(getattr(type(part), "log_dict", _nothing)):
            part.__dict__.update(log=_nothing, log_dict=_nothing)
    for name in model._compiler_ctx or ():  # of torch.compile(module): what it was made from
        vars(model).pop(name.removeprefix("original_"), None)
    model.trainer = trainer
    takes_index = len(inspect.signature(model.training_step).parameters) > 1
    found = model.training_step(batch, batch_idx) if takes_index else model.training_step(batch)
    if found is None:
        raise _NoLossError("LightningWatch: training_step returned no loss")
    loss = found.get("loss") if isinstance(found, dict) else found
    if not isinstance(loss, torch.Tensor):
        raise UserError(f"LightningWatch: training_step returned no loss but {type(loss).__name__}")
    return loss


def _nothing(*args: Any, **kwargs: Any) -> None:
    """What copies log."""
