"""Training as a map: one optimiser step of many systems and trajectories at once."""

from __future__ import annotations

import copy
from collections.abc import Hashable, Sequence
from typing import Any, ClassVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from lyapopt.checks import Arguments
from lyapopt.dynamics.batches import Batch, StackedBatches
from lyapopt.dynamics.compilation import (
    Compile,
    Step,
    compiled_step,
    depends_on_time,
    will_pay,
)
from lyapopt.dynamics.execution import flushed_denormals, leaving_inference_mode
from lyapopt.dynamics.gradients import Gradients, StackGradients, verify_stack
from lyapopt.dynamics.hyperparameters import CoefficientWindow
from lyapopt.dynamics.maps import Losses, State
from lyapopt.dynamics.structure import module_structure
from lyapopt.dynamics.system import System
from lyapopt.dynamics.training import Evaluation, Training, as_list, evaluate, one_tensor
from lyapopt.dynamics.update_rules import Flag, UpdateRule, rule_for, smooth_root
from lyapopt.errors import NotStackableError, TrainingError


class TrainingMap:
    """One optimiser step as a map `step(z, t) -> z` on `(systems, trajectories, dim)`.

    The state holds weights, optimiser slots and moving buffers: `D = P (1 + slots) + buffers`, in
    this order. Every system has its own hyperparameters, seed and (if it likes) data; all
    trajectories of a system see the same batch and the same dropout masks at step `t`.

    Args:
        trainings: Trainings of equal structure (see `group_by_structure`).
        compile: `on` compiles the step for every shape, `auto` where `expected_steps` (or else the
            steps of the trainings) make it pay, `off` never. Models and losses with code of their
            own are compiled under `on` only: the code runs once and is recorded. Dropout masks and
            counters cannot be recorded.
        expected_steps: How many steps will be made with one shape, by all maps of this structure.

    Attributes:
        gradient_evaluations: Gradients computed so far, one for each trajectory and step.
        examples: Examples that these gradients were computed on.

    Raises:
        TrainingError: If a training cannot be trained as given.
        NotStackableError: If the trainings have different structures, or an optimiser without an
            update rule.

    Example:
        >>> from torch import nn
        >>> def training(lr):
        ...     model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
        ...     optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        ...     x = torch.eye(3, dtype=torch.float64)
        ...     return Training(model, nn.MSELoss(), optimizer, data=(x, x.sum(1, keepdim=True)))
        >>> step = TrainingMap([training(0.1), training(0.2)])
        >>> z = step.initial_state()
        >>> z.shape
        torch.Size([2, 1, 3])
        >>> step(z, 0).shape
        torch.Size([2, 1, 3])
    """

    returns_new_states: ClassVar[bool] = True
    """A state that was returned is the caller's (`maps.returns_new_states`)."""

    @leaving_inference_mode
    def __init__(
        self,
        trainings: Sequence[Training],
        compile: Compile = "auto",
        expected_steps: int | None = None,
    ) -> None:
        check = Arguments("TrainingMap", TrainingError)
        check.choice("compile", compile, get_args(Compile))
        check.optional(check.whole, "expected_steps", expected_steps, least=0)
        self._assemble(System.read_all(as_list(trainings)), None, compile, expected_steps)
        verify_stack(self._systems, self._gradients, self._batches)

    @classmethod
    @leaving_inference_mode
    def of_systems(
        cls,
        systems: Sequence[System],
        compile: Compile = "auto",
        expected_steps: int | None = None,
    ) -> TrainingMap:
        """The map of trainings that are read already (see `stack`)."""
        made = cls.__new__(cls)
        made._assemble(systems, None, compile, expected_steps)
        verify_stack(systems, made._gradients, made._batches)
        return made

    def _assemble(
        self,
        systems: Sequence[System],
        rule: UpdateRule | None,
        compile: Compile,
        expected_steps: int | None,
        gradients: StackGradients | None = None,
    ) -> None:
        if not systems:
            raise TrainingError("TrainingMap: there are no trainings")
        first = systems[0]
        if any(system.structure != first.structure for system in systems):
            raise NotStackableError(
                "these trainings differ in more than numbers (modules, shapes, loss, optimizer, "
                "batch); group_by_structure tells which can share a map"
            )
        self.gradient_evaluations = 0
        self.examples = 0
        self._systems = list(systems)
        self._like = first.flat_weights()
        self._size = len(self._like)
        self._gradients = gradients or StackGradients(systems)
        self._batches = StackedBatches([s.examples for s in systems], [s.order for s in systems])
        self._rule = rule or self._make_rule()
        self._coefficients = self._make_coefficients()
        self._clips = self._clip_thresholds()
        self._compile = compile
        self._expected_steps = expected_steps
        self._programs: dict[Hashable, Step | None] = {}

    def __reduce__(self) -> Any:
        # Made anew from the trainings: programs, and the code that a stack is known by, stay here.
        counters = {"gradient_evaluations": self.gradient_evaluations, "examples": self.examples}
        return TrainingMap, (self.trainings, self._compile, self._expected_steps), counters

    # The state and its parts

    @leaving_inference_mode
    def initial_state(self) -> Float[Tensor, "systems 1 dim"]:
        """Weights, slots and buffers as the trainings have them now."""
        rows = [
            torch.cat([s.flat_weights(), *map(s.flat_slot, self._rule.slots), s.flat_buffers()])
            for s in self._systems
        ]
        return torch.stack(rows).unsqueeze(1)

    def weights(self, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows weights"]:
        """The weight block of a state, a view."""
        return z[..., : self._size]

    def slots(self, z: Float[Tensor, "*rows dim"]) -> dict[str, Float[Tensor, "*rows weights"]]:
        """The optimiser's slots of a state by torch's names, each a view."""
        _, slots, _ = self._split(z)
        return dict(zip(self._rule.slots, slots, strict=True))

    def retract(self, z: Float[Tensor, "*rows dim"]) -> Float[Tensor, "*rows dim"]:
        """`z` with second moments that rounding made impossible (negative) put right."""
        w, slots, b = self._split(z)
        moved = self._rule.retract(slots)
        return z if moved is None else torch.cat([w, *moved, b], -1)

    def _split(self, z: Tensor) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        """Weights, slots and buffers of a state."""
        if z.shape[-1] == self._size:
            return z, (), z[..., :0]
        kept = self._size * (1 + len(self._rule.slots))
        w, *slots = torch.split(z[..., :kept], self._size, -1)
        return w, tuple(slots), z[..., kept:]

    def select(self, rows: Sequence[int]) -> TrainingMap:
        """The map of some of the systems, on the same rows of a state, with counters of its own."""
        chosen = TrainingMap.__new__(TrainingMap)
        systems = [self._systems[row] for row in rows]
        own = self._rule.select(rows), self._compile, self._expected_steps
        chosen._assemble(systems, *own, self._gradients.select(systems, rows))
        return chosen

    @property
    def trainings(self) -> list[Training]:
        """The trainings, one a system."""
        return [system.training for system in self._systems]

    @property
    def batch_size(self) -> int:
        """Examples of every system in a step."""
        return self._systems[0].order.size

    @property
    def steps_per_epoch(self) -> int:
        """Steps in which every example is seen once."""
        return self._systems[0].order.steps_per_epoch

    # Stepping

    @leaving_inference_mode
    def __call__(self, z: State, t: int) -> State:
        """One optimiser step; composable with `torch.func` (jvp, vmap over tangents)."""
        w, slots, b = self._split(z)
        g, _, b_new = self._clipped(self._gradients.composable, z, t)
        w_new, slots_new = self._rule.update(w, slots, g, self._coefficients.at(t), smooth_root)
        return torch.cat([w_new, *slots_new, b_new.reshape(b.shape)], -1)

    @leaving_inference_mode
    def step_with_losses(self, z: State, t: int) -> tuple[State, Losses]:
        """One optimiser step, and the losses at `z` on the batch.

        The same map as calling it, to rounding, by a faster way that cannot be differentiated. The
        new state may have its rows innermost in memory. Trajectories that have diverged are NaN
        from then on, and cost nothing.
        """
        with torch.no_grad(), flushed_denormals():
            z = self._gradients.arranged(z.detach())
            program = self._program(z, t)
            if program is not None:
                batch = self._batches.at(t, z.shape[1])
                self._count(z)
                return program(z, batch.tensors, list(self._coefficients.at(t).values()))
            w, slots, _ = self._split(z)
            g, losses, b_new = self._clipped(self._gradients, z, t)
            z_new = torch.empty_like(z)
            w_to, slots_to, b_to = self._split(z_new)
            self._rule.advance(w, slots, g, self._coefficients.at(t), w_to, slots_to)
            if b_to.shape[-1]:
                b_to.copy_(b_new.view(b_to.shape))
        return z_new, losses.view(z.shape[:2])

    def _clipped(
        self, gradients: Gradients, z: State, t: int
    ) -> tuple[
        Float[Tensor, "systems trajectories weights"],
        Float[Tensor, " rows"],
        Float[Tensor, "rows buffers"],
    ]:
        """Clipped gradients, losses and new buffers of all rows."""
        systems, trajectories, _ = z.shape
        rows = systems * trajectories
        w, _, b = self._split(z)
        batch = self._batches.at(t, trajectories)
        g, losses, b_new = gradients(w.reshape(rows, -1), b.reshape(rows, -1), batch, t)
        self._count(z)
        return self._clip(g.view(systems, trajectories, -1)), losses, b_new

    def _count(self, z: Tensor) -> None:
        rows = z.shape[0] * z.shape[1]
        self.gradient_evaluations += rows
        self.examples += rows * self.batch_size

    def _program(self, z: Tensor, t: int) -> Step | None:
        """The compiled step for states of this shape, if it is to be compiled."""
        if self._compile == "off":
            return None
        if z.shape not in self._programs:
            self._programs[z.shape] = self._make_program(z, t)
        return self._programs[z.shape]

    def _make_program(self, z: Tensor, t: int) -> Step | None:
        systems, trajectories, _ = z.shape
        if systems * trajectories == 1 or depends_on_time(self._systems[0]):
            return None
        if self._compile == "auto":
            own = max((s.training.steps or 0 for s in self._systems), default=0)
            steps = self._expected_steps or (own if trajectories == 1 else None)
            if self._gradients.is_fast_on(z) or not will_pay(self._systems, trajectories, steps):
                return None
        if (gradients := self._gradients.recordable) is None:
            return None
        batch = self._batches.at(t, trajectories)
        names = list(self._coefficients.at(t))
        example = (z, batch.tensors, list(self._coefficients.at(t).values()))

        def step(
            z: Tensor, tensors: Sequence[Tensor], coefficients: Sequence[Tensor]
        ) -> tuple[Tensor, Tensor]:
            w, slots, b = self._split(z)
            flat = w.reshape(systems * trajectories, -1), b.reshape(systems * trajectories, -1)
            g, losses, b_new = gradients(*flat, Batch(list(tensors), batch.is_shared), t)
            g = self._clip(g.view(systems, trajectories, -1))
            c = dict(zip(names, coefficients, strict=True))
            w_new, slots_new = self._rule.update(w, slots, g, c, torch.sqrt)
            z_new = torch.cat([w_new, *slots_new, b_new.reshape(b.shape)], -1)
            return z_new, losses.view(z.shape[:2])

        return compiled_step(step, example, self._program_key(z, batch.is_shared))

    def _program_key(self, z: Tensor, shares_batch: bool) -> Hashable | None:
        """Equal for maps whose compiled steps are one program; `None` if it holds own numbers."""
        if (
            self._clips is not None
            or self._gradients.has_fixed_tensors
            or any(isinstance(value, Tensor) for value in vars(self._rule).values())
        ):
            return None
        rule = (self._rule.slots, *(repr(v) for v in vars(self._rule).values() if type(v) is bool))
        # Activations that all systems share are in no structure across activations.
        first = self._systems[0]
        return (
            first.structure,
            module_structure(first.training.model),
            tuple(z.shape),
            shares_batch,
            rule,
            self._gradients.arrangement,
        )

    def _clip(self, g: Tensor) -> Tensor:
        """Scale gradients whose 2-norm exceeds the threshold (as `clip_grad_norm_` does)."""
        if self._clips is None:
            return g
        norm: Tensor = torch.linalg.vector_norm(g, dim=-1, keepdim=True)
        return g * (self._clips / (norm + 1e-6)).clamp(max=1.0)

    # Looking at states

    @leaving_inference_mode
    def outputs(
        self, z: State, examples: int = 256
    ) -> Float[Tensor, "systems trajectories outputs"]:
        """Outputs in evaluation mode on a system's first training examples.

        Raises:
            TrainingError: If the model does not return one tensor.
        """
        inputs = self._batches.first_inputs(examples, z.shape[1])
        w, _, b = self._split(z.reshape(-1, z.shape[-1]))
        outputs = one_tensor(self._gradients.outputs(w, b, inputs))
        return outputs.reshape(*z.shape[:2], -1)

    @leaving_inference_mode
    def evaluate(self, z: State, rows: Sequence[int] | None = None) -> Evaluation:
        """Loss and metric of the reference trajectories on the validation data.

        Args:
            z: State of all systems.
            rows: Systems to evaluate; all of them by default.
        """
        chosen = list(range(len(self._systems)) if rows is None else rows)
        systems = [self._systems[row] for row in chosen]
        outputs = self._outputs_on_validation(z, chosen)
        models = (self._model(row, z[row, 0]) for row in chosen) if outputs is None else outputs
        parts = zip(models, systems, strict=True)
        return evaluate((model, system.training, system.validation) for model, system in parts)

    def _outputs_on_validation(self, z: Tensor, rows: list[int]) -> Tensor | None:
        """Outputs of all rows in one pass, if there is one and the data are the same."""
        data = [self._systems[row].validation.tensors for row in rows]
        if not rows or any(len(own) != 2 or own[0] is not data[0][0] for own in data):
            return None
        return self._gradients.evaluated(self.weights(z[rows, 0]), data[0][0], rows)

    @leaving_inference_mode
    def models(self, z: State) -> list[nn.Module]:
        """Copies of the users' models with the weights of the reference trajectories."""
        return [self._model(row, z[row, 0]) for row in range(len(self._systems))]

    def _model(self, row: int, z: Float[Tensor, " dim"]) -> nn.Module:
        system = self._systems[row]
        model = copy.deepcopy(system.training.model)
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        w, _, b = self._split(z)
        with torch.no_grad():
            for names, flat in ((system.trace.weight_names, w), (system.trace.buffer_names, b)):
                parts = [tensors[name] for name in names]
                values = torch.split(flat, [part.numel() for part in parts])
                for part, value in zip(parts, values, strict=True):
                    part.copy_(value.view(part.shape))
        return model

    # Reading the systems once

    def _make_rule(self) -> UpdateRule:
        first = self._systems[0]
        groups = [system.training.optimizer.param_groups for system in self._systems]

        def flag(values: Sequence[Sequence[bool]]) -> Flag:
            """A switch that differs between systems or groups, spread over weights."""
            of_group = torch.tensor(values)
            spread = of_group[:, first.per_weight(first.group_of_weight)]
            return spread.unsqueeze(1).to(self._like.device)

        return rule_for(first.training.optimizer)(groups, flag)

    def _make_coefficients(self) -> CoefficientWindow:
        first = self._systems[0]
        has_groups = len(first.training.optimizer.param_groups) > 1
        group_of_weight = first.per_weight(first.group_of_weight) if has_groups else None
        return CoefficientWindow(
            [system.table for system in self._systems],
            [system.updates for system in self._systems],
            None if group_of_weight is None else group_of_weight.to(self._like.device),
            self._rule,
            self._like,
        )

    def _clip_thresholds(self) -> Tensor | None:
        clips = [system.training.clip_grad_norm for system in self._systems]
        if all(clip is None for clip in clips):
            return None
        values = [float("inf") if clip is None else clip for clip in clips]
        return torch.tensor(values, dtype=torch.float64).to(self._like).view(-1, 1, 1)
