"""Systems that cannot be stacked: the same map, one system and one trajectory at a time."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from lyapopt.dynamics.evaluation import Evaluation, evaluate
from lyapopt.dynamics.gradient_mode import leaving_inference_mode
from lyapopt.dynamics.lone_system import LoneSystem
from lyapopt.dynamics.training import Training
from lyapopt.errors import NotStackableError, TrainingError


class OneByOneMap:
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

    def __init__(self, systems: Sequence[LoneSystem]) -> None:
        if len(systems) != 1:
            raise NotStackableError("what cannot be stacked has a map of its own, one a training")
        self.gradient_evaluations = 0
        self.examples = 0
        self._system = systems[0]

    @leaving_inference_mode
    def initial_state(self) -> Tensor:
        """The state as the training has it now, `(1, 1, D)`."""
        return self._system.initial.view(1, 1, -1).clone()

    def weights(self, z: Tensor) -> Tensor:
        """The weight block of a state, a view `(..., P)`."""
        return z[..., : self._system.layout.weights]

    def retract(self, z: Tensor) -> Tensor:
        """`z` with squares in the optimiser's state that rounding made negative put to zero."""
        squares = self._system.layout.squares
        if not squares.any():
            return z
        squares = squares.to(z.device)
        return torch.where(squares, z.clamp(min=0), z)

    def select(self, rows: Sequence[int]) -> OneByOneMap:
        """The map of the system, with counters of its own."""
        return OneByOneMap([self._system for _ in rows])

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
    def __call__(self, z: Tensor, t: int) -> Tensor:
        """One optimiser step.

        Raises:
            NotStackableError: Under a transform of `torch.func`: a real optimiser has no tangents.
        """
        if torch._C._are_functorch_transforms_active():
            raise NotStackableError(
                f"tangents need a stacked map, and {self._system.reason}; measure with neighbours"
            )
        return self.step_with_losses(z, t)[0]

    @leaving_inference_mode
    def step_with_losses(self, z: Tensor, t: int) -> tuple[Tensor, Tensor]:
        """One optimiser step, and the losses at `z` on the batch, `(1, trajectories)`."""
        stepped = [self._system.step(row, t) for row in z[0].detach().unbind(0)]
        self.gradient_evaluations += len(stepped)
        self.examples += len(stepped) * self.batch_size
        rows, losses = zip(*stepped, strict=True)
        return torch.stack(rows).unsqueeze(0), torch.stack(losses).unsqueeze(0)

    @leaving_inference_mode
    def outputs(self, z: Tensor, examples: int = 256) -> Tensor:
        """Outputs in evaluation mode on the first training examples, `(1, N, outputs)`.

        Raises:
            TrainingError: If the model does not return one tensor.
        """
        inputs = [tensor[:examples] for tensor in self._system.examples.tensors[:-1]]
        found = []
        for row in z[0].detach().unbind(0):
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                outputs: Any = self._system.model_at(row).eval()(*inputs)
            if not isinstance(outputs, Tensor):
                raise TrainingError(
                    f"the model returns a {type(outputs).__name__}; separations in outputs need "
                    "one tensor (separations in weights do not)"
                )
            found.append(outputs.reshape(-1).clone())
        return torch.stack(found).unsqueeze(0)

    @leaving_inference_mode
    def evaluate(self, z: Tensor, rows: Sequence[int] | None = None) -> Evaluation:
        """Loss and metric of the reference trajectory on the validation data."""
        system = self._system
        chosen = range(1) if rows is None else rows
        with torch.random.fork_rng(devices=[]):
            return evaluate(
                (system.model_at(z[row, 0].detach()), system.training, system.validation)
                for row in chosen
            )

    @leaving_inference_mode
    def models(self, z: Tensor) -> list[nn.Module]:
        """A copy of the user's model with the weights of the reference trajectory."""
        return [copy.deepcopy(self._system.model_at(z[0, 0].detach()))]
