"""One `Training` that runs with its own objects: their copies, and how they are loaded and read."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.data import BatchOrder, Examples, read_examples, read_order
from lyapopt.dynamics.hyperparameters import HyperparameterTable
from lyapopt.dynamics.layers import DeterministicLayers
from lyapopt.dynamics.optimizer_state import OptimizerLayout
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.system import refuse_hooks
from lyapopt.dynamics.trace import copy_sharing_parameters, plain_attributes
from lyapopt.dynamics.training import Training
from lyapopt.errors import NotStackableError, TrainingError, UserError

_SQUARES = ("exp_avg_sq", "max_exp_avg_sq", "square_avg", "sum", "acc_delta")


@dataclass(frozen=True)
class Layout:
    """Where everything lies in a state: weights, optimiser, buffers, and a flag.

    Attributes:
        weights: Numbers of weights.
        sizes: Numbers of all parts, in order.
        squares: Which numbers of the state cannot be negative, `(D,)`.
    """

    weights: int
    sizes: list[int]
    squares: Tensor


class LoneSystem:
    """A training with copies of its model and optimiser, which are loaded for every step.

    Args:
        training: Left as it is.
        reason: Why it is not in a stack.

    Raises:
        TrainingError: If it cannot be trained as given.
        NotStackableError: If it keeps state where no neighbour can have its own.
    """

    def __init__(self, training: Training, reason: str) -> None:
        self.training = training
        self.reason = reason
        self.structure: Hashable = object()  # equal to no other
        self.examples: Examples = read_examples(training.data)
        self.validation: Examples = (
            self.examples
            if training.validation is None
            else read_examples(training.validation, "validation")
        )
        self.order: BatchOrder = read_order(
            training.data, self.examples, training.batch_size, training.seed
        )
        _refuse_closures(training.optimizer)
        refuse_hooks(training)
        self._table = HyperparameterTable(
            training.optimizer, training.scheduler, _numbers(training.optimizer)
        )
        self._numbers = _numbers(training.optimizer)
        self._key = torch.tensor(training.seed & (2**63 - 1))
        self._model, self._optimizer = _copies(training)
        self._modes = [(part, part.training) for part in self._model.modules()]
        stepped = {p for group in self._optimizer.param_groups for p in group["params"]}
        self._parameters = [p for p in self._model.parameters() if p in stepped]
        if not self._parameters:
            raise TrainingError(
                "Training: the optimizer holds no trainable parameter of this model; make it from "
                "model.parameters() of the same model"
            )
        self._buffers = list(self._model.buffers())
        self._kept: OptimizerLayout
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0))
        self.initial, self.layout = self._read_layout()

    def step(self, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """One step of one trajectory `(D,)`: the next state, and the loss before."""
        self._load(z)
        self._set_hyperparameters(t)
        loss = self._backward(t)
        self._optimizer.step()
        return self._flat(True), loss

    def model_at(self, z: Tensor) -> nn.Module:
        """The model with the weights of a state `(D,)`; the same object every time.

        Put it into evaluation mode if you like: the next step undoes that.
        """
        self._load(z)
        self._restore_modes()
        return self._model

    def _read_layout(self) -> tuple[Tensor, Layout]:
        """The initial state, from a first step that is taken back."""
        has_stepped = bool(self._optimizer.state)
        before = copy.deepcopy(self._optimizer.state_dict())
        tensors = [p.detach().clone() for p in (*self._parameters, *self._buffers)]
        groups = [_plain(group) for group in self._optimizer.param_groups]
        self._set_hyperparameters(0)
        kept = self._kept_elsewhere()
        try:
            self._check_gradients()
            self._backward(0)
            self._optimizer.step()
        except UserError:
            raise
        except Exception as error:
            raise TrainingError(
                f"Training: the first step raised {type(error).__name__}: {error}"
            ) from error
        for (where, before_step), (_, now) in zip(kept, self._kept_elsewhere(), strict=True):
            if before_step != now:
                raise NotStackableError(
                    f"a step changes numbers that are kept in {where}, where no neighbour can have "
                    "its own; keep them in a buffer, or in the optimizer's state of a parameter"
                )
        self._kept = OptimizerLayout.of(self._optimizer, self._parameters)
        for group, plain in zip(self._optimizer.param_groups, groups, strict=True):
            group.update(plain)
        self._optimizer.load_state_dict(before)
        with torch.no_grad():
            for tensor, value in zip((*self._parameters, *self._buffers), tensors, strict=True):
                tensor.copy_(value)
        sizes = [p.numel() for p in self._parameters]
        weights = sum(sizes)
        squares = [torch.zeros(weights, dtype=torch.bool)]
        for (_, name, _, shape, _), size in zip(self._kept.entries, self._kept.sizes, strict=True):
            squares.append(torch.full((size,), name in _SQUARES and len(shape) > 0))
        rest = [b.numel() for b in self._buffers]
        squares.append(torch.zeros(sum(rest) + 1, dtype=torch.bool))
        layout = Layout(weights, [*sizes, *self._kept.sizes, *rest, 1], torch.cat(squares))
        return self._flat(has_stepped), layout

    def _kept_elsewhere(self) -> list[tuple[str, object]]:
        """Numbers that are in no state, and where they are."""
        own = vars(self._optimizer).items()
        plain = {name: value for name, value in own if isinstance(value, bool | int | float)}
        return [
            ("attributes of the model", plain_attributes(self._model)),
            ("a buffer that it replaces", list(map(id, self._model.buffers()))),
            ("attributes of the optimizer", plain),
            ("param_groups", [_plain(group) for group in self._optimizer.param_groups]),
        ]

    def _check_gradients(self) -> None:
        """Refuse a loss that reads the user's own model: it would not see the copies here."""
        stepped = {p for group in self.training.optimizer.param_groups for p in group["params"]}
        theirs = [p for p in self.training.model.parameters() if p in stepped]
        both = []
        for model, parameters in ((self._model, self._parameters), (self.training.model, theirs)):
            loss = self._loss(copy_sharing_parameters(model), 0)
            both.append(
                torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
            )
        for here, there in zip(*both, strict=True):
            if not torch.allclose(here, there, 1e-3, 1e-6, equal_nan=True):
                raise NotStackableError(
                    "the loss reads something that is not in the outputs of the model, such as the "
                    "model itself; return what it needs from the forward pass"
                )

    def _flat(self, has_stepped: bool) -> Tensor:
        like = self._parameters[0].detach()
        parts = [p.detach().to(like).reshape(-1) for p in self._parameters]
        parts += self._kept.read(self._optimizer, self._parameters, like)
        parts += [b.detach().to(like).reshape(-1) for b in self._buffers]
        return torch.cat([*parts, like.new_full((1,), float(has_stepped))])

    def _load(self, z: Tensor) -> None:
        parts = list(torch.split(z, self.layout.sizes))
        has_stepped = bool(parts.pop())
        count = len(self._parameters)
        last = len(parts) - len(self._buffers)
        with torch.no_grad():
            for tensor, part in zip(
                (*self._parameters, *self._buffers), (*parts[:count], *parts[last:]), strict=True
            ):
                tensor.copy_(part.view(tensor.shape))
        if has_stepped:
            self._kept.write(self._optimizer, self._parameters, parts[count:last])
        else:  # an optimiser makes its own first state, which need not be zero
            self._optimizer.state.clear()

    def _set_hyperparameters(self, t: int) -> None:
        if self.training.scheduler is None:
            return
        table = self._table.window(t, t + 1, t)
        for index, group in enumerate(self._optimizer.param_groups):
            for name, values in table.items():
                _set_number(group, name, float(values[0, index]))

    @torch.enable_grad()
    def _backward(self, t: int) -> Tensor:
        """Gradients at the present weights on the batch of step `t`; the loss."""
        self._restore_modes()
        self._optimizer.zero_grad()
        loss = self._loss(self._model, t)
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        if self.training.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.training.clip_grad_norm)
        return loss.detach().reshape(())

    @torch.enable_grad()
    def _loss(self, model: nn.Module, t: int) -> Tensor:
        *inputs, target = self._batch(t)
        with torch.random.fork_rng(devices=_devices(self._parameters[0])):
            torch.manual_seed(derive_seed(self.training.seed, t, "step"))
            with _SeededLayers(self._key, t):
                outputs = model(*inputs)
            return self.training.loss_fn(outputs, target).reshape(())

    def _restore_modes(self) -> None:
        for part, mode in self._modes:
            part.training = mode

    def _batch(self, t: int) -> list[Tensor]:
        tensors = list(self.examples.tensors)
        if self.order.is_full_batch:
            return tensors
        epoch, position = divmod(t, self.order.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self.order.epoch(epoch).to(tensors[0].device)
        return [tensor[self._epoch[1][position]] for tensor in tensors]


class _SeededLayers(DeterministicLayers):
    """Dropout with the masks that a stack would have; all else is torch's own."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if self.is_random(func):
            try:
                return super().__torch_function__(func, types, args, kwargs)
            except NotStackableError:
                pass  # it draws from the generator, which is seeded
        return func(*args, **kwargs)


def _copies(training: Training) -> tuple[nn.Module, torch.optim.Optimizer]:
    try:
        memo: dict[int, Any] = {}
        model = copy.deepcopy(training.model, memo)
        own = {name: value for name, value in vars(training.optimizer).items() if name != "step"}
        # Not a copy of the object: that would leave out the attributes of a class of the user's.
        optimizer = type(training.optimizer).__new__(type(training.optimizer))
        vars(optimizer).update(copy.deepcopy(own, memo))
    except Exception as error:
        raise NotStackableError(
            f"the model or its optimizer cannot be copied ({type(error).__name__}: {error}); keep "
            "in their attributes only what copy.deepcopy can copy"
        ) from error
    return model, optimizer


def _refuse_closures(optimizer: torch.optim.Optimizer) -> None:
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    if closure is not None and closure.default is inspect.Parameter.empty:
        raise NotStackableError(
            f"the optimizer {type(optimizer).__name__} calls a closure as often as it likes, so "
            "that its step is no map of one gradient; use one that steps without a closure"
        )


def _numbers(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
    """Names of the numbers in the parameter groups that a schedule may set."""
    found = [name for name, value in optimizer.param_groups[0].items() if type(value) is float]
    if "lr" in optimizer.param_groups[0] and "lr" not in found:
        found.append("lr")
    betas = optimizer.param_groups[0].get("betas")
    is_pair = isinstance(betas, tuple | list) and len(betas) == 2
    return (*found, *(("beta1", "beta2") if is_pair else ()))


def _set_number(group: dict[str, Any], name: str, value: float) -> None:
    if name in ("beta1", "beta2"):
        first, second = group["betas"]
        group["betas"] = (value, second) if name == "beta1" else (first, value)
    elif isinstance(group[name], Tensor):
        group[name].fill_(value)
    else:
        group[name] = value


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    return {name: copy.copy(value) for name, value in group.items() if name != "params"}


def _devices(like: Tensor) -> list[int]:
    return [like.device.index or 0] if like.is_cuda else []
