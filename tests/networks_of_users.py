"""Ten ordinary networks as people write them: float32, classes of their own, quirks and all.

    training = NETWORKS["lstm"].training(lr=0.1)                # a `Training`, float32
    twin = NETWORKS["lstm"].training(lr=0.1, dtype=torch.float64)
    model, loss_fn, optimizer, batches = NETWORKS["lstm"].loop(lr=0.1)       # a loop of one's own

A twin in float64 is the same network, its weights and data cast.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (the name that all of PyTorch uses)
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

import lyapopt

Loss = Callable[[Any, Tensor], Tensor]


class MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = nn.Linear(10, 24), nn.Linear(24, 24), nn.Linear(24, 3)

    def forward(self, x):
        x = F.relu(self.fc1(x.float()))
        return self.fc3(torch.tanh(self.fc2(x)))


class MLP64(MLP):
    def forward(self, x):
        return self.fc3(torch.tanh(self.fc2(F.relu(self.fc1(x)))))


class ConvNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.conv2, self.bn2 = nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.fc = nn.Linear(8 * 4, 3)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 2)
        x = F.max_pool2d(F.relu(self.bn2(self.conv2(x))), 2)
        return self.fc(x.view(x.size(0), -1))


class PackedLSTM(nn.Module):
    dtype = torch.float32

    def __init__(self) -> None:
        super().__init__()
        self.hidden = 12
        self.embedding = nn.Embedding(20, 8, padding_idx=0)
        self.lstm = nn.LSTM(8, self.hidden, batch_first=True)
        self.fc = nn.Linear(self.hidden, 3)

    def forward(self, tokens, lengths):
        h0 = torch.zeros(1, tokens.size(0), self.hidden, dtype=self.dtype)
        c0 = torch.zeros(1, tokens.size(0), self.hidden, dtype=self.dtype)
        packed = pack_padded_sequence(
            self.embedding(tokens), lengths.cpu(), batch_first=True, enforce_sorted=False
        )
        _, (h, _) = self.lstm(packed, (h0, c0))
        return self.fc(h[-1])


class PackedLSTM64(PackedLSTM):
    dtype = torch.float64


class Transformer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1)
        self.fc = nn.Linear(16, 3)

    def forward(self, tokens):
        steps = tokens.size(1)
        mask = nn.Transformer.generate_square_subsequent_mask(steps)
        frequencies = torch.exp(torch.arange(16).float() * -0.5)
        phase = torch.arange(steps, dtype=torch.float32).unsqueeze(1) * frequencies
        x = self.embedding(tokens) * 16**0.5 + torch.sin(phase)
        return self.fc(self.encoder(x, mask=mask).mean(1))


class Transformer64(Transformer):
    def forward(self, tokens):
        steps = tokens.size(1)
        mask = nn.Transformer.generate_square_subsequent_mask(steps, dtype=torch.float64)
        frequencies = torch.exp(torch.arange(16).double() * -0.5)
        phase = torch.arange(steps, dtype=torch.float64).unsqueeze(1) * frequencies
        x = self.embedding(tokens) * 16**0.5 + torch.sin(phase)
        return self.fc(self.encoder(x, mask=mask).mean(1))


class VAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(10, 16), nn.ReLU(), nn.Linear(16, 8))
        self.decoder = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 10))

    def forward(self, x):
        mu, logvar = self.encoder(x).chunk(2, dim=1)
        std = torch.exp(0.5 * logvar)
        return self.decoder(mu + std * torch.randn_like(std)), mu, logvar


def elbo(outputs, x):
    reconstruction, mu, logvar = outputs
    divergence = -0.5 * torch.sum(1 + logvar - mu.pow(2) - logvar.exp(), dim=1)
    return F.mse_loss(reconstruction, x, reduction="sum") / len(x) + 0.1 * divergence.mean()


class Siamese(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(10, 20), nn.Tanh(), nn.Linear(20, 4))

    def forward(self, a, b):
        return self.net(a), self.net(b)


def contrastive(outputs, same):
    distance = F.pairwise_distance(*outputs)
    margin = torch.tensor(2.0)
    return torch.mean(same * distance**2 + (1 - same) * torch.clamp(margin - distance, min=0) ** 2)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 12)
        self.hidden = nn.Linear(12, 12)
        self.out = nn.Linear(12, 20)
        self.out.weight = self.embedding.weight

    def forward(self, tokens):
        return self.out(torch.tanh(self.hidden(self.embedding(tokens).mean(1))))


class WithPenalty(nn.Module):
    """Returns what the loss needs for a penalty on activations."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(10, 24), nn.Linear(24, 3)
        self.scale = torch.tensor(0.5)  # no buffer: forgotten by `.to`

    def forward(self, x):
        hidden = torch.sigmoid(self.fc1(x) * self.scale)
        return self.fc2(hidden), hidden


def penalised(outputs, y):
    logits, hidden = outputs
    return F.cross_entropy(logits, y) + 0.05 * torch.norm(hidden, p=1) / len(y)


def table(draw: torch.Generator) -> list[Tensor]:
    x = torch.randn(96, 10, generator=draw)
    return [x, x[:, :3].argmax(1)]


def images(draw: torch.Generator) -> list[Tensor]:
    x = torch.randn(96, 1, 8, 8, generator=draw)
    return [x, x.view(96, 64)[:, ::20][:, :3].argmax(1)]


def sentences(draw: torch.Generator) -> list[Tensor]:
    tokens = torch.randint(1, 20, (96, 7), generator=draw)
    return [tokens, tokens[:, 0] % 3]


def padded(draw: torch.Generator) -> list[Tensor]:
    tokens, target = sentences(draw)
    lengths = torch.randint(2, 8, (96,), generator=draw)
    return [tokens * (torch.arange(7) < lengths.view(-1, 1)), lengths, target]


def unlabelled(draw: torch.Generator) -> list[Tensor]:
    x = torch.randn(96, 10, generator=draw)
    return [x, x]


def pairs(draw: torch.Generator) -> list[Tensor]:
    a = torch.randn(96, 10, generator=draw)
    same = torch.randint(0, 2, (96,), generator=draw).float()
    b = torch.where(same.bool().view(-1, 1), a + 0.1, torch.randn(96, 10, generator=draw))
    return [a, b, same]


def words(draw: torch.Generator) -> list[Tensor]:
    tokens = torch.randint(0, 20, (96, 5), generator=draw)
    return [tokens, tokens[:, 2]]


@dataclass(frozen=True)
class UserNetwork:
    """A network of somebody's, with data, loss and optimiser.

    Attributes:
        model: Makes the module.
        loss: Makes the loss.
        data: Makes inputs and target.
        optimizer: Makes the optimiser of parameters and a learning rate.
        rates: A learning rate that trains, and one that is too hot.
        twin: Makes the module as one would write it for float64, where that is another one.
    """

    model: Callable[[], nn.Module]
    loss: Callable[[], Loss]
    data: Callable[[torch.Generator], list[Tensor]]
    optimizer: Callable[..., torch.optim.Optimizer]
    rates: tuple[float, float]
    twin: Callable[[], nn.Module] | None = None

    def parts(
        self, lr: float, dtype: torch.dtype = torch.float32
    ) -> tuple[nn.Module, Loss, torch.optim.Optimizer, tuple[Tensor, ...]]:
        """Model, loss, optimiser and data; the caller's generators are left alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            make = self.twin if self.twin is not None and dtype == torch.float64 else self.model
            model = make().to(dtype)
        for name, value in vars(model).items():
            if isinstance(value, Tensor):
                setattr(model, name, value.to(dtype))
        loss_fn = self.loss()
        if isinstance(loss_fn, nn.Module):
            loss_fn = copy.deepcopy(loss_fn).to(dtype)
        tensors = [
            tensor.to(dtype) if tensor.is_floating_point() else tensor
            for tensor in self.data(torch.Generator().manual_seed(1))
        ]
        return model, loss_fn, self.optimizer(model.parameters(), lr=lr), tuple(tensors)

    def training(
        self, lr: float, dtype: torch.dtype = torch.float32, **options: Any
    ) -> lyapopt.Training:
        """A training of 40 steps in batches of 24."""
        model, loss_fn, optimizer, data = self.parts(lr, dtype)
        settings = {"batch_size": 24, "steps": 40, **options}
        return lyapopt.Training(model, loss_fn, optimizer, data, **settings)

    def loop(
        self, lr: float, dtype: torch.dtype = torch.float32, steps: int = 20
    ) -> tuple[nn.Module, Loss, torch.optim.Optimizer, Iterator[tuple[Any, Tensor]]]:
        """Model, loss, optimiser and batches `(x, y)` of a loop; several inputs are a tuple."""
        model, loss_fn, optimizer, (*inputs, target) = self.parts(lr, dtype)

        def batches() -> Iterator[tuple[Any, Tensor]]:
            for t in range(steps):
                chosen = slice(24 * (t % 4), 24 * (t % 4 + 1))
                x = tuple(tensor[chosen] for tensor in inputs)
                yield (x if len(x) > 1 else x[0]), target[chosen]

        return model, loss_fn, optimizer, batches()


SGD, Momentum = torch.optim.SGD, partial(torch.optim.SGD, momentum=0.9)
Adam, AdamW = torch.optim.Adam, partial(torch.optim.AdamW, weight_decay=0.01)

NETWORKS: dict[str, UserNetwork] = {
    "mlp": UserNetwork(MLP, nn.CrossEntropyLoss, table, Momentum, (0.03, 3.0), MLP64),
    "cnn": UserNetwork(ConvNet, nn.CrossEntropyLoss, images, SGD, (0.05, 20.0)),
    "lstm": UserNetwork(PackedLSTM, nn.CrossEntropyLoss, padded, Adam, (0.01, 1.0), PackedLSTM64),
    "transformer": UserNetwork(
        Transformer, nn.CrossEntropyLoss, sentences, AdamW, (1e-3, 0.3), Transformer64
    ),
    "vae": UserNetwork(VAE, lambda: elbo, unlabelled, Adam, (3e-3, 5.0)),
    "siamese": UserNetwork(Siamese, lambda: contrastive, pairs, SGD, (0.05, 5.0)),
    "tied": UserNetwork(Tied, nn.CrossEntropyLoss, words, SGD, (0.1, 30.0)),
    "class weights": UserNetwork(
        MLP,
        lambda: nn.CrossEntropyLoss(torch.tensor([0.2, 1.0, 3.3])),
        table,
        SGD,
        (0.1, 20.0),
        MLP64,
    ),
    "label smoothing": UserNetwork(
        MLP, lambda: nn.CrossEntropyLoss(label_smoothing=0.1), table, Adam, (3e-3, 1.0), MLP64
    ),
    "penalty": UserNetwork(WithPenalty, lambda: penalised, table, Momentum, (0.1, 10.0)),
}
