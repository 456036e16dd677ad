"""Systems that cannot be stacked: the same map, one system and one trajectory at a time."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Iterator, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from lyapopt.dynamics.broadcasting import RefusedBroadcasting
from lyapopt.dynamics.checked import check_training, surroundings_of
from lyapopt.dynamics.data import BatchOrder, Examples, read_examples, read_order
from lyapopt.dynamics.execution import leaving_inference_mode
from lyapopt.dynamics.hyperparameters import HyperparameterTable
from lyapopt.dynamics.layers import SeededLayers
from lyapopt.dynamics.maps import Losses, State
from lyapopt.dynamics.precision import copied, for_any_pass
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.dynamics.step_tangents import StepTangents
from lyapopt.dynamics.surroundings import Surroundings
from lyapopt.dynamics.system import refuse_patches
from lyapopt.dynamics.training import Evaluation, Training, evaluate, one_tensor
from lyapopt.dynamics.unstacked_state import FlatState, layout_of
from lyapopt.errors import NotStackableError, TrainingError, UserError


class UnstackedMap:
    """One optimiser step as a map `step(z, t) -> z`, with the real module and `torch.optim` object.

    The same interface as `TrainingMap`, for models with control flow that depends on data, for
    optimisers without an update rule here, and for what `torch.func` refuses. Every row runs as a
    PyTorch loop would run it; random numbers are seeded by (seed, t), so that all trajectories of
    a system see the same. The state holds weights, the tensors of the optimiser's state, buffers,
    and a number that tells whether the optimiser has made a step.

    Args:
        systems: One system: states of several need not have equal sizes.

    Attributes:
        gradient_evaluations: Gradients computed so far, one for each trajectory and step.
        examples: Examples that these gradients were computed on.
    """

    returns_new_states: ClassVar[bool] = True
    """A state that was returned is the caller's (`maps.returns_new_states`)."""

    def __init__(self, systems: Sequence[UnstackedSystem]) -> None:
        if len(systems) != 1:
            raise NotStackableError("what cannot be stacked has a map of its own, one a training")
        self.gradient_evaluations = 0
        self.examples = 0
        self._system = systems[0]

    @leaving_inference_mode
    def initial_state(self) -> Float[Tensor, "1 1 dim"]:
        """The state as the training has it now."""
        return self._system.initial.view(1, 1, -1).clone()

    def weights(self, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows weights"]:
        """The weight block of a state, a view."""
        return z[..., : self._system.state.weights]

    def retract(self, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """`z` with squares in the optimiser's state that rounding made negative put to zero."""
        squares = self._system.state.squares
        if not squares.any():
            return z
        return torch.where(squares.to(z.device), z.clamp(min=0), z)

    def select(self, rows: Sequence[int]) -> UnstackedMap:
        """The map of the system, with counters of its own."""
        return UnstackedMap([self._system for _ in rows])

    def briefly(self) -> UnstackedMap:
        """The same map, with counters of its own."""
        return UnstackedMap([self._system])

    @property
    def trainings(self) -> list[Training]:
        """The training."""
        return [self._system.training]

    @property
    def batch_size(self) -> int:
        """Examples in a step."""
        return self._system.order.size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every example is seen once."""
        return self._system.order.steps_per_epoch

    @leaving_inference_mode
    def __call__(self, z: State, t: int) -> State:
        """One optimiser step.

        Raises:
            NotStackableError: Under a transform of `torch.func`; `push` moves tangents.
        """
        if torch._C._are_functorch_transforms_active():
            raise NotStackableError(
                f"torch.func cannot differentiate a real optimizer, and {self._system.reason}; "
                "take push, which moves tangents"
            )
        return self.step_with_losses(z, t)[0]

    @leaving_inference_mode
    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """One optimiser step, and the losses at `z` on the batch."""
        stepped = [self._system.step(row, t) for row in z[0].detach().unbind(0)]
        self.gradient_evaluations += len(stepped)
        self.examples += len(stepped) * self.batch_size
        rows, losses = zip(*stepped, strict=True)
        return torch.stack(rows).unsqueeze(0), torch.stack(losses).unsqueeze(0)

    @property
    def has_tangent(self) -> Bool[Tensor, " dim"]:
        """Which numbers of a state `push` moves tangents of: not those of buffers."""
        return ~self._system.state.is_buffer

    @leaving_inference_mode
    def push(
        self, z: Float[Tensor, "1 1 dim"], tangents: Float[Tensor, "tangents 1 dim"], t: int
    ) -> tuple[Float[Tensor, "1 1 dim"], Float[Tensor, "tangents 1 dim"]]:
        """The next state, and tangents there: `vmap` of `jvp` for maps that real modules make.

        Raises:
            NotStackableError: If a pass reads a buffer that passes write: then there are none.
            RuntimeError: If an operation has no second derivative.
        """
        after, moved = self._system.push(z[0, 0].detach(), tangents[:, 0].detach(), t)
        return after.view(1, 1, -1), moved.unsqueeze(1)

    @leaving_inference_mode
    def outputs(self, z: State, examples: int = 256) -> Float[Tensor, "1 trajectories outputs"]:
        """Outputs in evaluation mode on the first training examples.

        Raises:
            TrainingError: If the model does not return one tensor.
        """
        given = [tensor[:examples] for tensor in self._system.examples.tensors[:-1]]
        found = []
        for row in z[0].detach().unbind(0):
            inputs = [tensor.clone() for tensor in given]
            with torch.no_grad(), self._system.surroundings.kept(0):
                outputs = one_tensor(self._system.model_at(row).eval()(*inputs))
            found.append(outputs.reshape(-1).clone())
        return torch.stack(found).unsqueeze(0)

    @leaving_inference_mode
    def evaluate(self, z: State, rows: Sequence[int] | None = None) -> Evaluation:
        """Loss and metric of the reference trajectory on the validation data."""
        system = self._system
        chosen = range(1) if rows is None else rows
        return evaluate(
            (system.model_at(z[row, 0].detach()), system.training, system.validation)
            for row in chosen
        )

    @leaving_inference_mode
    def models(self, z: State) -> list[nn.Module]:
        """A copy of the user's model with the weights of the reference trajectory."""
        return [copy.deepcopy(self._system.model_at(z[0, 0].detach()))]


class UnstackedSystem:
    """A training with copies of its model and optimiser, which are given a state for every step.

    Args:
        training: Left as it is.
        reason: Why it is not in a stack.

    Attributes:
        structure: Equal to that of no other system.
        examples: The training data.
        validation: The data that final losses are taken on.
        order: Order of the batches.
        state: Where everything lies in a state.
        initial: The state as the training has it.
        surroundings: What a pass reaches beside its tensors.

    Raises:
        TrainingError: If it cannot be trained as given.
        NotStackableError: If it keeps state where no neighbour can have its own.
    """

    def __init__(self, training: Training, reason: str) -> None:
        self.training = training
        self.reason = reason
        self.structure: Hashable = object()
        self.examples: Examples = read_examples(training.data)
        self.validation: Examples = (
            self.examples
            if training.validation is None
            else read_examples(training.validation, "validation")
        )
        self.order: BatchOrder = read_order(
            training.data, self.examples, training.batch_size, training.seed
        )
        refuse_patches(training.optimizer)
        finding = check_training(training, self.examples, self.order)
        self._writes = finding.has_changed  # possibly into a batch
        self._table = HyperparameterTable(
            training.optimizer, training.scheduler, _number_names(training.optimizer)
        )
        self._key = torch.tensor(training.seed & (2**63 - 1))
        self._model, self._optimizer = _copies(training)
        self.surroundings: Surroundings = surroundings_of(training, self._model)
        self.training = for_any_pass(training, self._model)
        self._modes = [(part, part.training) for part in self._model.modules()]
        self._parameters = _trained(self._model, self._optimizer)
        if not self._parameters:
            raise TrainingError(
                "Training: the optimizer holds no trainable parameter of this model; make it from "
                "model.parameters() of the same model"
            )
        self._buffers = list(self._model.buffers())
        self._epoch: tuple[int, Tensor] = (-1, torch.empty(0))
        has_stepped = bool(self._optimizer.state)
        self.state: FlatState = layout_of(
            self._model, self._optimizer, self._parameters, self._take_first_step
        )
        self.initial: Float[Tensor, " dim"] = self.state.read(has_stepped)
        self._tangents = StepTangents(self._optimizer, self.state, self._parameters, self._buffers)

    def step(
        self, z: Float[Tensor, " dim"], t: int
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, ""]]:
        """One step of one trajectory: the next state, and the loss before."""
        self.state.write(z)
        self._set_hyperparameters(t)
        loss = self._train(t)
        return self.state.read(has_stepped=True), loss

    def push(
        self, z: Float[Tensor, " dim"], tangents: Float[Tensor, "tangents dim"], t: int
    ) -> tuple[Float[Tensor, " dim"], Float[Tensor, "tangents dim"]]:
        """One step of one trajectory, with tangents."""
        self._set_hyperparameters(t)
        seed = derive_seed(self.training.seed, t, "step")

        def losses() -> Iterator[Tensor]:
            self.surroundings.reseed(seed)
            yield self._loss(t)

        with self.surroundings.kept():
            return self._tangents.push(z, tangents, losses, self.training.clip_grad_norm)

    def model_at(self, z: Float[Tensor, " dim"]) -> nn.Module:
        """The model with the weights of a state; the same object every time.

        It may be put into evaluation mode: the next step undoes that.
        """
        self.state.write(z)
        self._restore_modes()
        return self._model

    def _take_first_step(self) -> None:
        self._set_hyperparameters(0)
        try:
            self._train(0)
        except UserError:
            raise
        except Exception as error:
            raise TrainingError(
                f"Training: the first step raised {type(error).__name__}: {error}"
            ) from error

    def _set_hyperparameters(self, t: int) -> None:
        if self.training.scheduler is None:
            return
        table = self._table.window(t, t + 1, t)
        for index, group in enumerate(self._optimizer.param_groups):
            for name, values in table.items():
                _set_number(group, name, float(values[0, index]))

    def _train(self, t: int) -> Tensor:
        """One step of the model and its optimiser, with random numbers of `t`; the loss."""
        with self.surroundings.kept(derive_seed(self.training.seed, t, "step")):
            loss = self._backward(t)
            self._optimizer.step()
        return loss

    @torch.enable_grad()
    def _backward(self, t: int) -> Tensor:
        """Gradients at the present weights on the batch of step `t`; the loss."""
        self._optimizer.zero_grad()
        loss = self._loss(t)
        loss.backward()  # type: ignore[no-untyped-call]  # torch gives it no types
        if self.training.clip_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self.training.clip_grad_norm)
        return loss.detach().reshape(())

    @torch.enable_grad()
    def _loss(self, t: int) -> Tensor:
        """The loss at the present weights on the batch of step `t`."""
        self._restore_modes()
        *inputs, target = self._batch(t)
        with SeededLayers(self._key, t):
            outputs = self._model(*inputs)
        with RefusedBroadcasting():
            return self.training.loss_fn(outputs, target).reshape(())

    def _restore_modes(self) -> None:
        for part, mode in self._modes:
            part.training = mode

    def _batch(self, t: int) -> list[Tensor]:
        tensors = list(self.examples.tensors)
        if self.order.is_full_batch:
            return [tensor.clone() for tensor in tensors] if self._writes else tensors
        epoch, position = divmod(t, self.order.steps_per_epoch)
        if self._epoch[0] != epoch:
            self._epoch = epoch, self.order.epoch(epoch).to(tensors[0].device)
        return [tensor[self._epoch[1][position]] for tensor in tensors]


def _trained(model: nn.Module, optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """The parameters of a model that an optimiser holds."""
    stepped = {p for group in optimizer.param_groups for p in group["params"]}
    return [p for p in model.parameters() if p in stepped]


def _copies(training: Training) -> tuple[nn.Module, torch.optim.Optimizer]:
    try:
        copies = copied(training)
    except Exception as error:
        raise NotStackableError(
            f"the model or its optimizer cannot be copied ({type(error).__name__}: {error}); keep "
            "in their attributes only what copy.deepcopy can copy"
        ) from error
    return copies.model, copies.optimizer


def _number_names(optimizer: torch.optim.Optimizer) -> tuple[str, ...]:
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
