"""`torch.optim` stepping real modules on the same batches: what the map must agree with."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap, group_by_structure
from lyapopt.dynamics.data import read_examples, read_order
from lyapopt.dynamics.layers import DeterministicLayers


class RealTraining:
    """A copy of a training, stepped as any PyTorch loop does it."""

    def __init__(self, training: Training) -> None:
        self.training = copy.deepcopy(training)
        self.examples = read_examples(training.data)
        self.order = read_order(training.data, self.examples, training.batch_size, training.seed)
        scheduler = self.training.scheduler
        if scheduler is not None and not isinstance(
            scheduler, torch.optim.lr_scheduler.LRScheduler
        ):
            scheduler = torch.optim.lr_scheduler.LambdaLR(self.training.optimizer, scheduler)
        self.scheduler = scheduler

    def step(self, t: int) -> Tensor:
        """One step; the loss before it."""
        epoch, position = divmod(t, self.order.steps_per_epoch)
        index = self.order.epoch(epoch)[position]
        if self.order.is_full_batch:
            index = torch.arange(self.order.count)
        *inputs, target = (tensor[index] for tensor in self.examples.tensors)
        training = self.training
        training.optimizer.zero_grad()
        outputs = self.forward(inputs, t)
        loss = training.loss_fn(outputs, target)
        loss.backward()
        if training.clip_grad_norm is not None:
            stepped = [p for g in training.optimizer.param_groups for p in g["params"]]
            nn.utils.clip_grad_norm_(stepped, training.clip_grad_norm)
        training.optimizer.step()
        if self.scheduler is not None:
            self.scheduler.step()
        return loss.detach().reshape(())

    def forward(self, inputs: Sequence[Tensor], t: int) -> object:
        """torch's own layers, but for dropout, which must have the masks of the map."""
        if not any("Dropout" in type(m).__name__ for m in self.training.model.modules()):
            return self.training.model(*inputs)
        with DeterministicLayers(torch.tensor(self.training.seed), t):
            return self.training.model(*inputs)

    def load(self, step: TrainingMap, row: int, z: Tensor) -> None:
        """Put the state of one row `(D,)` into model and optimiser."""
        system = step._systems[row]
        model, optimizer = self.training.model, self.training.optimizer
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        start = 0
        with torch.no_grad():
            for name in system.trace.weight_names:
                stop = start + tensors[name].numel()
                for kept, (slot, values) in enumerate(step.slots(z).items()):
                    state = optimizer.state[tensors[name]]
                    if state.get(slot) is not None:
                        state[slot].copy_(values[start:stop].view(tensors[name].shape))
                    del kept
                tensors[name].copy_(z[start:stop].view(tensors[name].shape))
                start = stop
            start = step.weights(z).numel() * (1 + len(step.slots(z)))
            for name in system.trace.buffer_names:
                stop = start + tensors[name].numel()
                tensors[name].copy_(z[start:stop].view(tensors[name].shape))
                start = stop

    def assert_at(self, step: TrainingMap, row: int, z: Tensor, rtol: float) -> None:
        """Compare weights, slots that torch keeps, and buffers with one row `(D,)`."""
        system = step._systems[row]
        model, optimizer = self.training.model, self.training.optimizer
        tensors = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        weights = [tensors[name] for name in system.trace.weight_names]
        _close(step.weights(z), _flat(weights), rtol, "weights")
        for slot, values in step.slots(z).items():
            states = [optimizer.state[w].get(slot) for w in weights]
            if all(state is not None for state in states):
                _close(values, _flat(states), rtol, slot)
        buffers = [tensors[name] for name in system.trace.buffer_names]
        if buffers:
            count = sum(buffer.numel() for buffer in buffers)
            _close(z[-count:], _flat(buffers), rtol, "buffers")


def _flat(tensors: Sequence[Tensor]) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])


def _close(found: Tensor, expected: Tensor, rtol: float, what: str) -> None:
    worst = float((found - expected).abs().max())
    scale = float(expected.abs().max())
    assert worst <= rtol * scale, f"{what}: {worst:.3g} beside {scale:.3g}"


def assert_every_step_agrees(
    trainings: Sequence[Training], steps: int = 100, rtol: float = 1e-12, start: int = 0
) -> TrainingMap:
    """From the same state at every step, both ways to step agree with torch."""
    step = TrainingMap(trainings)
    real = [RealTraining(training) for training in trainings]
    z = step.initial_state()
    for t in range(start, start + steps):
        for row, training in enumerate(real):
            training.load(step, row, z[row, 0])
        losses = torch.stack([training.step(t) for training in real])
        z_fast, found = step.step_with_losses(z, t)
        z_composable = step(z, t) if t % 10 == 0 else z_fast
        torch.testing.assert_close(found[:, 0], losses, rtol=rtol, atol=rtol)
        for row, training in enumerate(real):
            training.assert_at(step, row, z_fast[row, 0], rtol)
            training.assert_at(step, row, z_composable[row, 0], rtol)
        z = z_fast
    assert z.isfinite().all()
    return step


def assert_every_stack_agrees(trainings: Sequence[Training]) -> None:
    """The same for trainings whose optimisers keep different slots, so that they need several."""
    for positions in group_by_structure(trainings):
        assert_every_step_agrees([trainings[position] for position in positions])


def assert_whole_run_agrees(
    trainings: Sequence[Training], steps: int = 100, rtol: float = 1e-9
) -> None:
    """In a stable regime rounding does not grow, so that whole runs agree."""
    step = TrainingMap(trainings)
    real = [RealTraining(training) for training in trainings]
    z = step.initial_state()
    for t in range(steps):
        z, _ = step.step_with_losses(z, t)
        for training in real:
            training.step(t)
    for row, training in enumerate(real):
        training.assert_at(step, row, z[row, 0], rtol)


def regression(
    seed: int = 0, examples: int = 12, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor]:
    """A small regression problem, three inputs and two outputs."""
    source = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, 3, dtype=dtype, generator=source)
    return x, torch.stack([x.sum(1).sin(), (x[:, 0] * x[:, 1]).tanh()], 1)


def network(seed: int = 0, dtype: torch.dtype = torch.float64) -> nn.Sequential:
    """A small net of fixed weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(3, 5, dtype=dtype), nn.Tanh(), nn.Linear(5, 2, dtype=dtype))


def training_with(
    optimizer: Callable[[nn.Module], torch.optim.Optimizer], seed: int = 0, **settings: object
) -> Training:
    """A training of `network` on `regression`."""
    model = network(seed)
    loss = settings.pop("loss_fn", nn.MSELoss())
    data = settings.pop("data", regression())
    return Training(model, loss, optimizer(model), data=data, seed=seed, **settings)  # type: ignore[arg-type]
