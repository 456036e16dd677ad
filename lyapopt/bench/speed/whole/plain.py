"""The searches of the benchmark as one writes them with Optuna and PyTorch alone.

A script of its own that imports nothing of lyapopt: `python plain.py NAME DATABASE TRIALS`. It is
written as well as a script is: tensors and no loader, float32, one thread, a loss that is evaluated
without gradients, ten reports a trial, and trials that are pruned when their loss is not finite.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import pairwise

import optuna
import torch
from optuna import Trial
from torch import Tensor, nn

Loss = Callable[[Tensor, Tensor], Tensor]

REPORTS = 10
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "linear": nn.Identity,
    "sigmoid": nn.Sigmoid,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
    "gelu": nn.GELU,
}


class Search:
    """What the scripts have in common: a training loop with reports.

    Args:
        data: Inputs and targets.
        held_out: Those that a loss is evaluated on.
        loss_fn: The loss.
        steps: Steps of a trial.
        batch: Examples of a step; all by default.
    """

    def __init__(
        self,
        data: tuple[Tensor, Tensor],
        held_out: tuple[Tensor, Tensor],
        loss_fn: Loss,
        steps: int,
        batch: int | None = None,
    ) -> None:
        self.data, self.held_out, self.loss_fn = data, held_out, loss_fn
        self.steps, self.batch = steps, batch
        self.due = {round(20 + (steps - 20) * k / (REPORTS - 1)) for k in range(REPORTS)}

    def train(self, trial: Trial, model: nn.Module, optimizer: torch.optim.Optimizer) -> float:
        """Train a model; the loss at the end."""
        loss_now = math.nan
        for step, (x, y) in enumerate(self.batches(), start=1):
            optimizer.zero_grad()
            self.loss_fn(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch's
            optimizer.step()
            if step in self.due:
                loss_now = self.evaluate(model)
                if not math.isfinite(loss_now):
                    raise optuna.TrialPruned
                trial.report(loss_now, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
        return loss_now

    def batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The batches of a training, in a new order every epoch."""
        x, y = self.data
        done = 0
        while True:
            if self.batch is None:
                parts: list[tuple[Tensor, Tensor]] = [(x, y)]
            else:
                order = torch.randperm(len(x))[: len(x) // self.batch * self.batch]
                parts = [(x[index], y[index]) for index in torch.split(order, self.batch)]
            for part in parts:
                if done == self.steps:
                    return
                yield part
                done += 1

    @torch.no_grad()
    def evaluate(self, model: nn.Module) -> float:
        """The loss on the examples held out."""
        model.eval()
        x, y = self.held_out
        loss = self.loss_fn(model(x), y).item()
        model.train()
        return loss


def digits(steps: int, batch: int) -> Search:
    """Images of digits, a fifth of them held out."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.tensor(found.images / 16.0, dtype=torch.float32)
    y = torch.tensor(found.target)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    held_out, rest = order[: len(x) // 5], order[len(x) // 5 :]
    data, valid = (x[rest], y[rest]), (x[held_out], y[held_out])
    return Search(data, valid, nn.functional.cross_entropy, steps, batch)


def mlp(widths: list[int], activation: str) -> nn.Sequential:
    """Linear layers with an activation between."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in pairwise(widths):
        layers += [nn.Linear(before, after), ACTIVATIONS[activation]()]
    return nn.Sequential(*layers[:-1])


class Residual(nn.Module):
    """Blocks with a way around them, as a user's own module has them."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())
            for _ in range(blocks)
        )
        self.last = nn.Linear(width, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits of images `(batch, 8, 8)`."""
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block(h)
        logits: Tensor = self.last(h)
        return logits


def cnn(activation: str) -> nn.Sequential:
    """Two convolutions."""
    return nn.Sequential(
        nn.Unflatten(1, (1, 8)),
        nn.Conv2d(1, 8, 3, padding=1),
        ACTIVATIONS[activation](),
        nn.AvgPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1),
        ACTIVATIONS[activation](),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, 10),
    )


Make = Callable[[str], nn.Module]
"""A network with the activation of this name."""


def descent(
    search: Search, activations: list[str], lr: tuple[float, float], make: Make
) -> Callable[[Trial], float]:
    """An activation and a learning rate of gradient descent, searched for.

    Args:
        search: How a trial is trained.
        activations: Names of the activations.
        lr: Range of the rates.
        make: Makes the network.
    """

    def objective(trial: Trial) -> float:
        name = trial.suggest_categorical("activation", activations)
        rate = trial.suggest_float("lr", *lr, log=True)
        torch.manual_seed(trial.number)
        model = make(name)
        return search.train(trial, model, torch.optim.SGD(model.parameters(), lr=rate))

    return objective


def digits_objective() -> Callable[[Trial], float]:
    """The search of `studies/digits.yaml`."""
    search = digits(steps=600, batch=64)
    return descent(search, list(ACTIVATIONS), (0.0005, 5.0), partial(mlp, [64, 32, 32, 10]))


def small_objective() -> Callable[[Trial], float]:
    """A smaller network on the same images, for many trials."""
    search = digits(steps=200, batch=32)
    return descent(search, ["relu", "tanh", "gelu"], (0.001, 10.0), partial(mlp, [64, 16, 10]))


def xor_objective() -> Callable[[Trial], float]:
    """The search of `studies/xor.yaml`."""
    x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0]])
    search = Search((x, y), (x, y), nn.functional.mse_loss, steps=300)
    return descent(search, ["linear", "sigmoid", "relu"], (0.001, 3.0), partial(mlp, [2, 8, 1]))


def own_objective() -> Callable[[Trial], float]:
    """A module of a user's own, with AdamW."""
    search = digits(steps=300, batch=64)

    def objective(trial: Trial) -> float:
        lr = trial.suggest_float("lr", 1e-4, 1.0, log=True)
        decay = trial.suggest_float("weight_decay", 1e-6, 1e-1, log=True)
        torch.manual_seed(trial.number)
        model = Residual(32, 2)
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=decay)
        return search.train(trial, model, optimizer)

    return objective


def cnn_objective() -> Callable[[Trial], float]:
    """A convolutional network."""
    return descent(digits(steps=300, batch=64), ["relu", "tanh", "gelu"], (0.001, 5.0), cnn)


def wide_objective() -> Callable[[Trial], float]:
    """A network of a million weights."""
    search = digits(steps=300, batch=64)
    return descent(search, ["relu", "tanh"], (0.001, 5.0), partial(mlp, [64, 960, 960, 10]))


OBJECTIVES = {
    "digits": digits_objective,
    "xor": xor_objective,
    "digits-small": small_objective,
    "own": own_objective,
    "cnn": cnn_objective,
    "wide": wide_objective,
}


def main(name: str, database: str, trials: int) -> None:
    """Run a search."""
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warmup = 0 if name == "xor" else 100
    study = optuna.create_study(
        study_name=name,
        storage=f"sqlite:///{database}",
        sampler=optuna.samplers.TPESampler(seed=0),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=10, n_warmup_steps=warmup),
    )
    study.optimize(OBJECTIVES[name](), n_trials=trials)
    print(f"{name}: {len(study.trials)} trials, best {study.best_value:.4g}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
