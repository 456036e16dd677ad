"""A callback for skorch."""

from __future__ import annotations

import inspect
from typing import Any, Self

import torch
from torch import Tensor, nn

from lyapopt.dynamics.first_batches import first_batches
from lyapopt.errors import UserError
from lyapopt.search.callbacks.watching import Watching, refuse
from lyapopt.search.loop_probe import Loop

try:
    from skorch.callbacks import Callback, GradientNormClipping
    from skorch.dataset import unpack_data
except ImportError as error:
    raise UserError("SkorchWatch needs skorch: pip install 'lyapopt[skorch]'") from error


class SkorchWatch(Watching, Callback):  # type: ignore[misc]
    """`lyapopt.watch` as a callback of a skorch net.

    The copies get their losses from the net's own `infer` and `get_loss`, and step whenever its
    optimiser does: nets that accumulate gradients in a `train_step` of their own are followed, and
    so are `AccelerateMixin` with accumulation, `GradientNormClipping`, and any learning-rate
    scheduler. The copies train in float64 whatever the precision of the net.

    What cannot be followed is refused when the training begins: several optimisers or devices, an
    optimiser that evaluates the loss several times a step, and float16 by `AccelerateMixin`, which
    skips steps (bfloat16 does not).

    A `partial_fit` goes on with what is measured if the weights are where the last one left them; a
    second `fit` measures anew. Clones, of `cross_val_score` or `GridSearchCV`, have the same trial:
    their costs add up, and of what was measured the latest counts. In processes of their own
    (`n_jobs` of scikit-learn) each counts for itself, and the trial has what the last one wrote.

    Args:
        trial: Where exponent, verdict and cost go; `None` keeps them in `monitor` only.
        prune: Whether `optuna.TrialPruned` is raised when the pruner of the trial's study says to
            stop (see `Monitor.should_stop`).
        horizon, neighbours, radius, rule, seed, record, store: As for `lyapopt.watch`.
        suggest_lr: Name and range of the learning rate, `("lr", 1e-4, 1.0)`: before the first step
            it is steered as `lyapopt.suggest_lr` does, from the net's own loss and training data,
            and set in the optimiser and its schedules, wherever among the callbacks those are.
            Rates are probed without a schedule, and of one that turns round it is the largest.

    Example:
        >>> import optuna
        >>> trial = optuna.create_study().ask()
        >>> callback = SkorchWatch(trial, horizon=10)  # NeuralNet(..., callbacks=[callback])
        >>> callback.monitor is None  # until the training begins
        True
    """

    _hook: Any = None
    _left_off: Any = None
    _loop: Loop | None = None  # whose rate is to be steered at the first batch

    def _get_param_names(self) -> list[str]:
        """As of a scikit-learn estimator; by default skorch takes all attributes."""
        signatures = [inspect.signature(kind.__init__) for kind in (Watching, type(self))]
        every = [each for signature in signatures for each in signature.parameters.values()]
        several = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        return sorted({each.name for each in every if each.kind not in several} - {"self"})

    def __sklearn_clone__(self) -> Self:
        return type(self)(**self.get_params(deep=False))

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Copy modules, criteria and optimiser."""
        if len(net._optimizers) != 1:
            refuse("SkorchWatch: a net with several optimizers", "use lyapopt.watch")
        accelerator = getattr(net, "accelerator", None)
        if accelerator is not None:
            _check(accelerator)
        prepared = getattr(net, net._optimizers[0] + "_")
        optimizer = getattr(prepared, "optimizer", prepared)
        parts = {name: getattr(net, name + "_") for name in net._modules + net._criteria}
        modules = nn.ModuleDict({n: p for n, p in parts.items() if isinstance(p, nn.Module)})
        accumulate = getattr(accelerator, "gradient_accumulation_steps", 1)
        self._weight = 1 / accumulate
        if self._hook is not None:
            self._hook.remove()  # of a training that was interrupted
            self._hook = None
        self._watched = optimizer, modules
        goes_on = self._left_off == _versions(optimizer, modules)
        self._left_off = None
        if not goes_on:
            self._begin(modules, optimizer, _clipping(net))
        if goes_on or self.suggest_lr is None:
            self._hook = optimizer.register_step_pre_hook(self._step)
            return

        def batches(count: int) -> list[Any]:
            data, _ = net.get_split_datasets(X, y, **kwargs)
            found = first_batches(net.get_iterator(data, training=True), count)
            return [tuple(unpack_data(batch)) for batch in found]

        def loss_of(model: Any, batch: Any) -> Tensor:
            return _loss(net, model, *batch)

        self._loop = Loop(modules, optimizer, batches, loss_of, accumulate, _clipping(net))

    def on_batch_begin(
        self, net: Any, batch: Any = None, training: bool = False, **kwargs: Any
    ) -> None:
        """Show the copies the batch."""
        assert self.monitor is not None
        if not training:
            return
        if self._loop is not None:  # other callbacks have made their schedules and frozen by now
            loop, self._loop = self._loop, None
            self._steer(loop, _schedulers(net))
            self._hook = loop.optimizer.register_step_pre_hook(self._step)
        self.monitor.observe_loss(
            lambda model, batch: _loss(net, model, *batch), tuple(unpack_data(batch)), self._weight
        )

    def on_batch_end(self, net: Any, batch: Any = None, training: bool = False, **_: Any) -> None:
        """Prune, if the pruner says so."""
        if training:
            self._prune()

    def on_train_end(self, net: Any, X: Any = None, y: Any = None, **kwargs: Any) -> None:
        """Complete what is recorded; say so if the training was too short."""
        if self._hook is not None:
            self._hook.remove()
        self._left_off = _versions(*self._watched)
        self._end()

    def _step(self, optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        """Let the copies step as well."""
        assert self.monitor is not None
        self.monitor.step()


def _check(accelerator: Any) -> None:
    if accelerator.num_processes > 1:
        refuse(
            f"SkorchWatch: a training in {accelerator.num_processes} processes",
            "each would see its own batches only",
        )
    if accelerator.mixed_precision == "fp16":
        refuse("SkorchWatch: mixed precision in float16", "it skips steps; use bf16")


def _versions(optimizer: torch.optim.Optimizer, modules: nn.Module) -> tuple[Any, ...]:
    """The optimiser, and how often each tensor has been written to: nobody may have trained on."""
    tensors = [*modules.parameters(), *modules.buffers()]
    return optimizer, [(id(each), each._version) for each in tensors]


def _schedulers(net: Any) -> list[Any]:
    """Those of the net's callbacks."""
    callbacks = [callback for _, callback in net.callbacks_]
    found = [getattr(callback, "lr_scheduler_", None) for callback in callbacks]
    return [scheduler for scheduler in found if scheduler is not None]


def _clipping(net: Any) -> float | None:
    """The norm to which the net's gradients are clipped."""
    for _, callback in net.callbacks_:
        if isinstance(callback, GradientNormClipping):
            if callback.gradient_clip_norm_type != 2:
                refuse("SkorchWatch: clipping by another norm than the second", "clip by that")
            return float(callback.gradient_clip_value)
    return None


def _loss(net: Any, model: Any, inputs: Any, labels: Any) -> Tensor:
    """The loss that a net would have with a copy's modules."""
    copied = object.__new__(type(net))  # copying a net would pickle its weights
    copied.__dict__.update(vars(net) | {name + "_": module for name, module in model.items()})
    copied._set_training(True)
    predicted = copied.infer(inputs)
    loss: Tensor = copied.get_loss(predicted, labels, X=inputs, training=True)
    return loss
