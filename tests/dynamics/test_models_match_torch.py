"""Models, layers, losses and frozen parts: every step agrees with a real module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.optim import SGD, Adam
from training_oracle import assert_every_step_agrees, network, regression, training_with

from lyapopt.dynamics import Training, TrainingMap

D = torch.float64


class Lambda(nn.Module):
    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *args: Any) -> Any:
        return self.function(*args)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encode = nn.Linear(3, 3, bias=False)
        self.decode = nn.Linear(3, 3)
        self.decode.weight = self.encode.weight
        self.out = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.decode(self.encode(x).tanh()))


class PartlyUsed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used = nn.Linear(3, 2)
        self.never = nn.Linear(7, 7)
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return self.frozen(self.used(x))


class Sequence(nn.Module):
    def __init__(self, recurrent: nn.Module, width: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.out = nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.recurrent(x.unflatten(1, (4, 3)))
        return self.out(outputs[:, -1])


class Cells(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gru, self.lstm, self.rnn = nn.GRUCell(3, 4), nn.LSTMCell(3, 4), nn.RNNCell(3, 4)
        self.out = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        h = c = x.new_zeros(len(x), 4)
        for now in x.unflatten(1, (4, 3)).unbind(1):
            h = self.gru(now, self.rnn(now, h))
            h, c = self.lstm(now, (h, c))
        return self.out(h)


class Transformer(nn.Module):
    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(
            6, 2, 8, dropout=dropout, batch_first=True, norm_first=True
        )
        self.out = nn.Linear(6, 2)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(2))

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x.unflatten(1, (2, 6)), src_mask=self.mask).mean(1))


class Words(nn.Module):
    def __init__(self, **settings: Any) -> None:
        super().__init__()
        self.embedding = nn.Embedding(5, 3, **settings)
        self.out = nn.Linear(3, 2)

    def forward(self, words: Tensor) -> Tensor:
        return self.out(self.embedding(words).mean(1))


def block(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def convolution() -> nn.Module:
    return block(
        nn.Unflatten(1, (1, 4, 3)),
        nn.Conv2d(1, 3, 2, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.LazyLinear(2),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "relu": lambda: block(nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)),
    "lambdas": lambda: block(Lambda(torch.sin), nn.Linear(12, 2), Lambda(lambda x: 2 * x)),
    "cnn": convolution,
    "batch-norm": lambda: block(nn.Linear(12, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 2)),
    "batch-norm-2d": lambda: block(
        nn.Unflatten(1, (1, 4, 3)),
        nn.Conv2d(1, 3, 2),
        nn.BatchNorm2d(3, momentum=0.3, eps=1e-3),
        nn.Flatten(),
        nn.Linear(18, 2),
    ),
    "batch-norm-momentum-1": lambda: block(nn.BatchNorm1d(12, momentum=1.0), nn.Linear(12, 2)),
    "batch-norm-momentum-0": lambda: block(nn.BatchNorm1d(12, momentum=0.0), nn.Linear(12, 2)),
    "batch-norm-cumulative": lambda: block(nn.BatchNorm1d(12, momentum=None), nn.Linear(12, 2)),
    "batch-norm-not-affine": lambda: block(nn.BatchNorm1d(12, affine=False), nn.Linear(12, 2)),
    "batch-norm-no-statistics": lambda: block(
        nn.Linear(12, 4), nn.BatchNorm1d(4, track_running_stats=False), nn.Linear(4, 2)
    ),
    "batch-norm-frozen": lambda: block(nn.Linear(12, 4), nn.BatchNorm1d(4).eval(), nn.Linear(4, 2)),
    "layer-norm": lambda: block(nn.Linear(12, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 2)),
    "group-norm": lambda: block(nn.Linear(12, 4), nn.GroupNorm(2, 4), nn.Linear(4, 2)),
    "instance-norm": lambda: block(
        nn.Unflatten(1, (4, 3)), nn.InstanceNorm1d(4, affine=True), nn.Flatten(), nn.Linear(12, 2)
    ),
    "instance-norm-tracked": lambda: block(
        nn.Unflatten(1, (4, 3)),
        nn.InstanceNorm1d(4, affine=True, track_running_stats=True),
        nn.Flatten(),
        nn.Linear(12, 2),
    ),
    "dropout": lambda: block(
        nn.Linear(12, 6), nn.Dropout(0.5, inplace=True), nn.ReLU(), nn.Dropout(0.3), nn.Linear(6, 2)
    ),
    "channel-dropout": lambda: block(
        nn.Unflatten(1, (4, 3)), nn.Dropout1d(0.3), nn.Flatten(), nn.Linear(12, 2)
    ),
    "gru": lambda: Sequence(nn.GRU(3, 4, batch_first=True), 4),
    "gru-deep": lambda: Sequence(nn.GRU(3, 4, 2, bidirectional=True, batch_first=True), 8),
    "gru-no-bias": lambda: Sequence(nn.GRU(3, 4, bias=False, batch_first=True), 4),
    "lstm": lambda: Sequence(nn.LSTM(3, 4, batch_first=True), 4),
    "lstm-projected": lambda: Sequence(nn.LSTM(3, 4, 2, proj_size=2, batch_first=True), 2),
    "lstm-projected-no-bias": lambda: Sequence(
        nn.LSTM(3, 4, bias=False, proj_size=2, batch_first=True), 2
    ),
    "rnn": lambda: Sequence(nn.RNN(3, 4, batch_first=True), 4),
    "rnn-relu": lambda: Sequence(nn.RNN(3, 4, nonlinearity="relu", batch_first=True), 4),
    "cells": Cells,
    "transformer": Transformer,
    "tied": Tied,
    "partly-used": PartlyUsed,
    "weight-norm": lambda: block(parametrizations.weight_norm(nn.Linear(12, 4)), nn.Linear(4, 2)),
    "orthogonal": lambda: block(parametrizations.orthogonal(nn.Linear(12, 4)), nn.Linear(4, 2)),
    "repeated": lambda: (
        lambda same: block(nn.Linear(12, 4), same, nn.Tanh(), same, nn.Linear(4, 2))
    )(nn.Linear(4, 4)),
}


def data(width: int = 12, examples: int = 10, dtype: torch.dtype = D) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(5)
    x = torch.randn(examples, width, dtype=dtype, generator=source)
    return x, torch.stack([x.sum(1).sin(), x[:, 0].cos()], 1)


def make(name: str, seed: int, dtype: torch.dtype = D, **settings: Any) -> Training:
    x, y = data(3 if name in ("tied", "partly-used") else 12, dtype=dtype)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = MODELS[name]().to(dtype)
        model(x)  # initialises lazy layers, and makes running statistics differ from their default
    optimizer = SGD(model.parameters(), lr=0.02 * (1 + seed), momentum=0.9, weight_decay=0.01)
    return Training(model, nn.MSELoss(), optimizer, (x, y), seed=seed, **settings)


@pytest.mark.parametrize("name", MODELS)
def test_every_step_of_the_model_agrees_with_torch(name: str) -> None:
    steps = 100 if name == "batch-norm" else 10
    assert_every_step_agrees([make(name, 0, batch_size=5), make(name, 1, batch_size=5)], steps)


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_two_hundred_steps_of_the_model_agree_with_torch(name: str) -> None:
    assert_every_step_agrees([make(name, s, batch_size=5) for s in range(3)], 200)


@pytest.mark.parametrize("name", MODELS)
def test_the_model_agrees_in_float32(name: str) -> None:
    trainings = [make(name, s, torch.float32, batch_size=5) for s in range(2)]
    assert_every_step_agrees(trainings, 4, rtol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_outputs_are_those_of_the_model_in_evaluation_mode(name: str) -> None:
    step = TrainingMap([make(name, 0), make(name, 1)])
    z = step.initial_state()
    for t in range(2):
        z, _ = step.step_with_losses(z, t)
    inputs = data(3 if name in ("tied", "partly-used") else 12)[0]
    outputs = step.outputs(z.expand(2, 3, -1))
    for row, model in enumerate(step.models(z)):
        expected = model.eval()(inputs).reshape(-1)
        torch.testing.assert_close(outputs[row, 2], expected, rtol=1e-10, atol=1e-12)


def test_dropout_between_recurrent_layers_and_in_attention_has_masks() -> None:
    for model in (
        lambda: Sequence(nn.LSTM(3, 4, 2, dropout=0.5, batch_first=True), 4).double(),
        lambda: Transformer(dropout=0.3).double(),
    ):
        own = model()
        step = TrainingMap(
            [Training(own, nn.MSELoss(), SGD(own.parameters(), lr=0.1), data(), seed=3)]
        )
        z = step.initial_state()
        losses = [float(step.step_with_losses(z, t)[1]) for t in (0, 0, 1)]
        assert losses[0] == losses[1]
        assert losses[0] != losses[2]
        _, pair = step.step_with_losses(z.expand(1, 2, -1), 0)
        assert pair[0, 0] == pair[0, 1]


def test_dropout_drops_the_share_it_is_told_to() -> None:
    model = nn.Sequential(nn.Dropout(0.3), nn.Linear(1000, 1, bias=False, dtype=D))
    with torch.no_grad():
        model[1].weight.fill_(1.0)
    x = torch.ones(20, 1000, dtype=D)
    training = Training(model, lambda o, y: o.mean(), SGD(model.parameters(), lr=0.0), (x, x[:, 0]))
    step = TrainingMap([training])
    losses = torch.stack([step.step_with_losses(step.initial_state(), t)[1] for t in range(10)])
    # 200,000 numbers, each 0 or 1 / 0.7: the mean of 1000 x their mean has deviation 1.5.
    assert abs(float(losses.mean()) - 1000) < 7


def test_embeddings_take_integers() -> None:
    source = torch.Generator().manual_seed(0)
    words = torch.randint(0, 5, (10, 4), generator=source)
    target = torch.randint(0, 2, (10,), generator=source)
    trainings = []
    for seed in range(2):
        torch.manual_seed(seed)
        model = Words(padding_idx=0).double()
        optimizer = Adam(model.parameters(), lr=0.01 * (1 + seed))
        trainings.append(
            Training(model, nn.CrossEntropyLoss(), optimizer, (words, target), batch_size=5)
        )
    assert_every_step_agrees(trainings, 40)


CLASSES = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 1])
LOSSES: dict[str, tuple[Callable[..., Tensor], Tensor]] = {
    "cross-entropy": (nn.CrossEntropyLoss(), CLASSES),
    "weighted": (nn.CrossEntropyLoss(weight=torch.tensor([0.2, 2.0], dtype=D)), CLASSES),
    "smoothed": (nn.CrossEntropyLoss(label_smoothing=0.1), CLASSES),
    "bce": (
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.5], dtype=D)),
        torch.stack([CLASSES, 1 - CLASSES], 1).double(),
    ),
    "nll": (lambda o, y: F.nll_loss(o.log_softmax(-1), y), CLASSES),
    "l1": (nn.L1Loss(), regression()[1]),
    "huber": (nn.HuberLoss(delta=0.3), regression()[1]),
    "smooth-l1": (F.smooth_l1_loss, regression()[1]),
    "sum": (nn.MSELoss(reduction="sum"), regression()[1]),
    "function": (lambda o, y: ((o - y).abs() ** 3).mean(), regression()[1]),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_agree_with_torch(name: str) -> None:
    loss_fn, target = LOSSES[name]
    trainings = [
        training_with(
            lambda m, lr=lr: SGD(m.parameters(), lr=lr, momentum=0.5),
            loss_fn=loss_fn,
            data=(regression()[0], target),
            seed=seed,
            batch_size=6,
        )
        for seed, lr in enumerate((0.01, 0.03))
    ]
    assert_every_step_agrees(trainings, 40)


def test_frozen_and_unused_parameters_may_differ_between_systems() -> None:
    trainings = [make("partly-used", seed) for seed in range(3)]
    assert not torch.equal(trainings[0].model.frozen.weight, trainings[1].model.frozen.weight)
    step = assert_every_step_agrees(trainings, 20)
    assert step.initial_state().shape[-1] == 2 * (3 * 2 + 2)


def test_parameters_that_the_optimizer_does_not_hold_stay() -> None:
    trainings = [
        training_with(lambda m: SGD(m[2].parameters(), lr=0.1), seed=seed) for seed in range(2)
    ]
    step = assert_every_step_agrees(trainings, 20)
    z = step.step_with_losses(step.initial_state(), 0)[0]
    assert torch.equal(step.models(z)[1][0].weight, trainings[1].model[0].weight)


def test_several_inputs_reach_the_model_in_order() -> None:
    x, y = regression()

    def make_two(seed: int) -> Training:
        model = nn.Bilinear(3, 2, 2, dtype=D)
        return Training(
            model, nn.MSELoss(), SGD(model.parameters(), lr=0.1), (x, y, y), seed=seed, batch_size=4
        )

    assert_every_step_agrees([make_two(0), make_two(1)], 20)


def test_models_may_return_tuples_and_dictionaries() -> None:
    x, y = regression()
    for wrap, loss in (
        (lambda o: (o, o), lambda o, y: F.mse_loss(o[0], y)),
        (lambda o: {"logits": o}, lambda o, y: F.mse_loss(o["logits"], y)),
    ):
        model = nn.Sequential(network(), Lambda(wrap))
        training = Training(model, loss, SGD(model.parameters(), lr=0.1), (x, y))
        assert_every_step_agrees([training], 5)


@torch.no_grad()
def test_models_and_evaluation_are_those_of_the_reference() -> None:
    trainings = [
        training_with(
            lambda m: Adam(m.parameters(), lr=0.01), seed=s, metric=lambda o, y: (o - y).abs().max()
        )
        for s in range(2)
    ]
    step = TrainingMap(trainings)
    z, _ = step.step_with_losses(step.initial_state(), 0)
    evaluation = step.evaluate(z.expand(2, 3, -1))
    x, y = regression()
    for row, model in enumerate(step.models(z)):
        assert evaluation.losses[row] == float(F.mse_loss(model(x), y))
        assert evaluation.metrics is not None
        assert evaluation.metrics[row] == float((model(x) - y).abs().max())
