"""Common models run without `vmap`, and give the same numbers as with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.gradients import _batched

D = torch.float64


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 20), nn.Linear(20, 3)
        self.scale = nn.Parameter(torch.ones(20))

    def forward(self, x: Tensor) -> Tensor:
        h = self.first(x)
        h = h + torch.tanh(h) * self.scale - h.mean(-1, keepdim=True)
        parts = torch.cat([h[:, :10], F.relu(h[..., 10:])], dim=1)
        return self.second(parts.view(x.size(0), -1))


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(3, 4) for _ in range(3))
        self.last = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = x.view(-1, 2, 3)
        weights = (self.query(x) @ self.key(x).transpose(1, 2) / 2.0).softmax(-1)
        return self.last((weights @ self.value(x)).mean(1))


def convolutional() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 6)),
        nn.Conv1d(1, 4, 3, padding=1),
        nn.BatchNorm1d(4),
        nn.ReLU(),
        nn.MaxPool1d(2),
        nn.Flatten(),
        nn.Linear(12, 3),
    )


MODELS: dict[str, Callable[[], nn.Module]] = {
    "tiny": lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 3)),
    "tiny without bias": lambda: nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.ELU(), nn.Linear(5, 3)
    ),
    "wide": lambda: nn.Sequential(nn.Linear(6, 40), nn.GELU(), nn.Linear(40, 3)),
    "in place": lambda: nn.Sequential(nn.Linear(6, 40), nn.ReLU(inplace=True), nn.Linear(40, 3)),
    "layer norm": lambda: nn.Sequential(nn.Linear(6, 20), nn.LayerNorm(20), nn.Linear(20, 3)),
    "batch norm": lambda: nn.Sequential(nn.Linear(6, 20), nn.BatchNorm1d(20), nn.Linear(20, 3)),
    "dropout": lambda: nn.Sequential(nn.Linear(6, 20), nn.Dropout(0.4), nn.Linear(20, 3)),
    "own forward": Residual,
    "attention": Attention,
    "convolution": convolutional,
}

LOSSES: dict[str, nn.Module] = {
    "mse": nn.MSELoss(),
    "l1": nn.L1Loss(reduction="sum"),
    "huber": nn.HuberLoss(delta=0.5),
    "smooth-l1": nn.SmoothL1Loss(),
    "logits": nn.BCEWithLogitsLoss(),
    "cross-entropy": nn.CrossEntropyLoss(),
    "ignored": nn.CrossEntropyLoss(ignore_index=1),
}


def make(model: str, loss: str, seed: int) -> Training:
    torch.manual_seed(0)
    x = torch.randn(16, 6, dtype=D)
    y = torch.rand(16, 3, dtype=D).round()
    target = y.argmax(1) if isinstance(LOSSES[loss], nn.CrossEntropyLoss) else y
    torch.manual_seed(seed)
    own = MODELS[model]().to(D)
    # Adam would blow up the rounding of gradients that are zero but for it (bias before a norm).
    optimizer = torch.optim.SGD(own.parameters(), lr=0.01 * (1 + seed), momentum=0.9)
    return Training(own, LOSSES[loss], optimizer, (x, target), batch_size=8, seed=seed)


def assert_both_ways_agree(trainings: list[Training]) -> None:
    step, by_vmap = TrainingMap(trainings), TrainingMap(trainings)
    assert step._gradients.is_batched
    by_vmap._gradients.use_vmap("a test")
    z = step.initial_state().repeat(1, 3, 1)
    away = torch.randn(z.shape, dtype=D, generator=torch.Generator().manual_seed(1))
    step.weights(z).add_(1e-2 * step.weights(away))
    for t in range(4):
        found, losses = step.step_with_losses(z, t)
        expected, expected_losses = by_vmap.step_with_losses(z, t)
        torch.testing.assert_close(losses, expected_losses, rtol=1e-11, atol=1e-13)
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
        z = found


@pytest.mark.parametrize("model", MODELS)
def test_models_agree_with_vmap(model: str) -> None:
    assert_both_ways_agree([make(model, "mse", seed) for seed in range(3)])


@pytest.mark.parametrize("model", MODELS)
def test_a_single_system_agrees_with_itself_in_a_stack(model: str) -> None:
    own = [make(model, "mse", seed) for seed in range(3)]
    stacked, alone = TrainingMap(own), TrainingMap(own[1:2])
    z = stacked.initial_state()
    for t in range(4):
        found, losses = stacked.step_with_losses(z, t)
        single, loss = alone.step_with_losses(z[1:2], t)
        torch.testing.assert_close(single[0], found[1], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(loss[0], losses[1], rtol=1e-11, atol=1e-13)
        z = found
    assert alone._gradients.is_batched


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("model", ["tiny", "wide"])
def test_losses_agree_with_vmap(model: str, loss: str) -> None:
    assert_both_ways_agree([make(model, loss, seed) for seed in range(3)])


@pytest.mark.parametrize("model", ["tiny", "wide", "batch norm", "dropout"])
def test_rows_that_run_in_parts_do_not_change(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = [make(model, "mse", seed) for seed in range(5)]
    whole, parts = TrainingMap(own), TrainingMap(own)
    z = whole.initial_state().repeat(1, 3, 1)
    expected = whole.step_with_losses(z, 0)
    monkeypatch.setattr(_batched, "_IN_CACHE", 1)
    found = parts.step_with_losses(z, 0)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-14)


@pytest.fixture
def rows_innermost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small stacks are laid out as large ones of tiny nets are."""
    monkeypatch.setattr(_batched, "_MANY_ROWS", 2)
    monkeypatch.setattr(_batched, "_MANY_EXAMPLES", 1)


@pytest.mark.usefixtures("rows_innermost")
@pytest.mark.parametrize("loss", LOSSES)
def test_rows_innermost_in_memory_agree_with_vmap(loss: str) -> None:
    own = [make("tiny", loss, seed) for seed in range(3)]
    step = TrainingMap(own)
    assert step.step_with_losses(step.initial_state(), 0)[0].stride(0) == 1
    assert_both_ways_agree(own)


@pytest.mark.usefixtures("rows_innermost")
def test_rows_innermost_run_in_parts_and_without_the_diverged_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    own = [make("tiny", "mse", seed) for seed in range(9)]
    whole, parts = TrainingMap(own), TrainingMap(own)
    z = whole.initial_state()
    expected = whole.step_with_losses(z, 0)[0]
    monkeypatch.setattr(_batched, "_IN_CACHE", 1)
    found = parts.step_with_losses(z, 0)[0]
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)
    lost = found.clone()
    lost[2] = torch.inf
    for t in (1, 2):
        found, lost = (parts.step_with_losses(each, t)[0] for each in (found, lost))
    keep = [row for row in range(9) if row != 2]
    assert lost[2].isnan().all()
    torch.testing.assert_close(lost[keep], found[keep], rtol=1e-12, atol=1e-14)


def test_a_custom_gradient_is_respected() -> None:
    class Doubled(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: object, g: Tensor) -> Tensor:
            return 2 * g

        generate_vmap_rule = True

    class Own(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return Doubled.apply(super().forward(x))

    def training(seed: int) -> Training:
        torch.manual_seed(seed)
        model = Own(3, 2, dtype=D)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        x = torch.randn(8, 3, dtype=D)
        return Training(model, nn.MSELoss(), optimizer, (x, x[:, :2]))

    from training_oracle import RealTraining

    from lyapopt.dynamics import stack

    own = [training(seed) for seed in range(2)]
    for positions, step in stack(own):
        z, _ = step.step_with_losses(step.initial_state(), 0)
        for row, position in enumerate(positions):
            real = RealTraining(own[position])
            real.step(0)
            flat = torch.cat([p.detach().reshape(-1) for p in real.training.model.parameters()])
            torch.testing.assert_close(step.weights(z)[row, 0], flat, rtol=1e-12, atol=1e-14)
