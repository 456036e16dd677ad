"""A callback for the Trainer of Hugging Face Transformers."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import optuna
import torch
from optuna.trial import BaseTrial, FixedTrial
from torch import nn
from torch.utils.data import DataLoader, IterableDataset

from lyapopt.dynamics.first_batches import first_batches
from lyapopt.errors import UserError
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.callbacks.watching import Watching, refuse
from lyapopt.search.loop_probe import Loop

try:
    from transformers import Trainer, TrainerCallback
except ImportError as error:
    raise UserError(
        "TransformersWatch needs Hugging Face Transformers: pip install 'lyapopt[transformers]'"
    ) from error


class TransformersWatch(Watching, TrainerCallback):  # type: ignore[misc]
    """`lyapopt.watch` as a callback of a Hugging Face `Trainer`.

        trainer = Trainer(...)
        trainer.add_callback(lyapopt.TransformersWatch(trainer, trial))

    Callbacks of a `Trainer` are not shown its batches, so that this one is given the trainer and
    listens to its `compute_loss`, which also gives the copies their losses: label smoothing, a
    `compute_loss_func` and an overridden `compute_loss` are followed, and so are accumulated
    batches, clipping and the learning-rate schedule. The copies train in float64 whatever
    precision the trainer has (`bf16` or `fp16`); a step that `fp16` skips because its gradients
    overflowed is taken by the copies.

    What cannot be followed is refused when the training begins: several devices, DeepSpeed, FSDP,
    a trainer with a `training_step` of its own, and one that trains in two threads (`n_jobs`).

    With `trainer.hyperparameter_search(backend="optuna")` each training is watched for the trial
    that the search hands to the trainer, whatever `trial` is.

    Args:
        trainer: The trainer that it is added to.
        trial: Where exponent, verdict and cost go; `None` keeps them in `monitor` only.
        **options: `prune`, `horizon`, `neighbours`, `radius`, `rule`, `seed`, `record`, `store`
            and `suggest_lr`, as for `LightningWatch`.
    """

    _thread: threading.Thread | None = None

    def __init__(self, trainer: Any, trial: Any = None, **options: Any) -> None:
        check = SearchArguments(type(self).__name__)
        expected = (
            "the transformers.Trainer that is watched (the trainer comes first, then the trial)"
        )
        check.instance("trainer", trainer, Trainer, expected)
        self._trainer = trainer
        super().__init__(trial, **options)

    def __getstate__(self) -> dict[str, Any]:
        raise UserError(
            "TransformersWatch: it cannot be pickled, since its trainer cannot; make another one "
            "for the trainer there, and keep `monitor` for what was measured"
        )

    def _current_trial(self) -> BaseTrial | None:
        # Trainer has no public name for it; callbacks are told its parameters only.
        handed = getattr(self._trainer, "_trial", None)
        return handed if isinstance(handed, BaseTrial) else self.trial

    def _check_rate(self) -> None:
        self._rate(self._current_trial() or FixedTrial({}))  # that of a search comes later

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Copy model and optimiser, and listen to the losses."""
        trainer = self._trainer
        _check(trainer)
        self._check_thread()
        optimizer = getattr(trainer.optimizer, "optimizer", trainer.optimizer)
        if self.suggest_lr is not None and state.global_step == 0:
            scheduler = getattr(trainer.lr_scheduler, "scheduler", trainer.lr_scheduler)
            loader = kwargs["train_dataloader"]
            self._steer(_loop(trainer, optimizer, loader), [scheduler])
        self._begin(trainer.model, optimizer, args.max_grad_norm or None)
        self._listen()

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Let the copies step as well."""
        assert self.monitor is not None
        self.monitor.step()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Prune, if the pruner says so."""
        try:
            self._prune()
        except optuna.TrialPruned:
            self._leave()
            raise

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Complete what is recorded; say so if the training was too short."""
        self._leave()
        self._end()

    def _check_thread(self) -> None:
        """Refuse a second training of the same trainer beside the first: they share one model."""
        here, there = threading.current_thread(), self._thread
        is_training = "compute_loss" in vars(self._trainer)
        if is_training and there is not None and there is not here and there.is_alive():
            refuse(
                "TransformersWatch: a trainer that trains in two threads (n_jobs)",
                "both would train one model; use n_jobs=1, and several processes to be faster",
            )
        self._thread = here

    def _listen(self) -> None:
        """Come between the trainer and its `compute_loss` while it trains."""
        trainer = self._trainer
        self._leave()  # a training before may have failed
        compute_loss = trainer.compute_loss

        def watched(model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            if model.training:
                self._observe(compute_loss, inputs, args, kwargs)
            return compute_loss(model, inputs, *args, **kwargs)

        trainer.compute_loss = watched

    def _observe(self, compute_loss: Any, inputs: Any, args: Any, kwargs: Any) -> None:
        assert self.monitor is not None
        self.monitor.observe_loss(
            # A copy each: compute_loss may take the labels out.
            lambda model, batch: compute_loss(model, dict(batch), *args, **kwargs),
            dict(inputs),
            _weight(self._trainer, kwargs.get("num_items_in_batch")),
        )

    def _leave(self) -> None:
        self._trainer.__dict__.pop("compute_loss", None)


def _loop(trainer: Any, optimizer: torch.optim.Optimizer, loader: Any) -> Loop:
    """The training before its first step, on shuffled batches of its data."""
    args = trainer.args

    def batches(count: int) -> list[Any]:
        plain = DataLoader(
            loader.dataset,
            args.train_batch_size,
            shuffle=not isinstance(loader.dataset, IterableDataset),  # which is refused below
            collate_fn=loader.collate_fn,
        )
        return [trainer._prepare_inputs(batch) for batch in first_batches(plain, count)]

    def loss_of(model: nn.Module, batch: Any) -> Any:
        return trainer.compute_loss(model, dict(batch))

    accumulate, clip = args.gradient_accumulation_steps, args.max_grad_norm or None
    return Loop(trainer.model, optimizer, batches, loss_of, accumulate, clip)


def _weight(trainer: Any, items: Any) -> float:
    """What the trainer multiplies the loss of a batch by (`Trainer.training_step`)."""
    is_scaled = getattr(trainer, "loss_is_scaled_for_ga", None)
    if is_scaled is None:
        by_model = trainer.model_accepts_loss_kwargs and items is not None
        is_scaled = by_model or trainer.compute_loss_func is not None
    return 1.0 if is_scaled else 1 / trainer.current_gradient_accumulation_steps


def _check(trainer: Any) -> None:
    args = trainer.args
    if args.world_size > 1 or args.n_gpu > 1:
        refuse(
            f"TransformersWatch: a training on {max(args.world_size, args.n_gpu)} devices",
            "each would see its own batches only; train on one",
        )
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        refuse("TransformersWatch: a training by DeepSpeed or FSDP", "the weights are spread out")
    if type(trainer).training_step is not Trainer.training_step:
        refuse(
            f"TransformersWatch: {type(trainer).__name__}, with a training_step of its own",
            "use lyapopt.watch inside it",
        )
    if getattr(args, "torch_compile", False):
        warnings.warn("TransformersWatch: the copies are not compiled", UserWarning, stacklevel=2)
