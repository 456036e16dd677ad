"""What speed is measured on: nets, data and numbers of rows."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training
from lyapopt.dynamics.randomness import generator


@dataclass(frozen=True)
class Workload:
    """Multilayer perceptrons, each trained by plain gradient descent.

    Args:
        widths: Units of the layers, inputs first.
        batch: Examples of a step.
        systems: Configurations, each with its own init and learning rate.
        trajectories: Copies of each.
        classes: Whether the outputs are classes (cross-entropy) or numbers (squared errors).
        examples: Size of the data set; the batch by default, so that every step sees all.
        activation: Between the layers.
    """

    widths: tuple[int, ...]
    batch: int
    systems: int
    trajectories: int = 1
    classes: bool = False
    examples: int | None = None
    activation: type[nn.Module] = nn.Tanh

    @property
    def rows(self) -> int:
        """Trajectories in all."""
        return self.systems * self.trajectories

    @property
    def weights(self) -> int:
        """Parameters of one net.

        Example:
            >>> Workload((2, 8, 1), 4, 1).weights
            33
        """
        return sum((before + 1) * after for before, after in pairwise(self.widths))

    def data(self) -> tuple[Tensor, Tensor]:
        """The data of all systems."""
        source = generator("bench", "data")
        count = self.examples or self.batch
        x = torch.randn(count, self.widths[0], generator=source)
        if self.classes:
            return x, torch.randint(0, self.widths[-1], (count,), generator=source)
        return x, torch.randn(count, self.widths[-1], generator=source)

    def model(self, seed: int = 0) -> nn.Sequential:
        """One net."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            layers: list[nn.Module] = []
            for before, after in pairwise(self.widths):
                layers += [nn.Linear(before, after), self.activation()]
            return nn.Sequential(*layers[:-1])

    def loss(self) -> nn.Module:
        """A loss of its own."""
        return nn.CrossEntropyLoss() if self.classes else nn.MSELoss()

    def training(self, seed: int, data: tuple[Tensor, Tensor]) -> Training:
        """One configuration; all have the same data and order of batches."""
        model = self.model(seed)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01 / (1 + seed % 7))
        return Training(model, self.loss(), optimizer, data, batch_size=self.batch, seed=0)

    def trainings(self) -> list[Training]:
        """All configurations."""
        data = self.data()
        return [self.training(seed, data) for seed in range(self.systems)]
