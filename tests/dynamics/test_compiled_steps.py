"""Compiled steps are the same steps, and a failure to compile is no failure."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import nn
from training_oracle import training_with

from lyapopt.dynamics import TrainingMap, compilation
from lyapopt.dynamics.compilation import is_recordable, will_pay
from lyapopt.dynamics.system import System


def trainings(count: int = 3, **own: object) -> list[object]:
    return [
        training_with(
            lambda m: torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.5),
            seed=seed,
            batch_size=4,
            **own,
        )
        for seed in range(count)
    ]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recorded steps as they are: a compiler takes half a minute."""
    monkeypatch.setattr(torch, "compile", lambda program, **_: program)
    compilation._programs.clear()


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize("clip", [None, 0.1])
def test_recorded_steps_agree_with_others(clip: float | None) -> None:
    step = TrainingMap(trainings(clip_grad_norm=clip), compile="on")
    plain = TrainingMap(trainings(clip_grad_norm=clip), compile="off")
    z = plain.initial_state().repeat(1, 2, 1)
    for t in range(8):
        found, losses = step.step_with_losses(z, t)
        z, expected = plain.step_with_losses(z, t)
        torch.testing.assert_close(found, z, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-14)
    assert any(program is not None for program in step._programs.values())
    assert step.gradient_evaluations == plain.gradient_evaluations


@pytest.mark.usefixtures("recorded")
def test_maps_of_one_structure_share_a_program() -> None:
    first, second = (TrainingMap(trainings(), compile="on") for _ in range(2))
    z = first.initial_state()
    first.step_with_losses(z, 0)
    second.step_with_losses(z, 0)
    [a], [b] = first._programs.values(), second._programs.values()
    assert a is not None
    assert a is b


def test_what_cannot_be_compiled_runs_with_one_line_in_the_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(program: object, **_: object) -> object:
        raise RuntimeError("no compiler found\nand much more")

    monkeypatch.setattr(torch, "compile", broken)
    compilation._programs.clear()
    step, plain = TrainingMap(trainings(), compile="on"), TrainingMap(trainings(), compile="off")
    z = step.initial_state()
    with caplog.at_level(logging.WARNING, "lyapopt"):
        for t in range(3):
            found, _ = step.step_with_losses(z, t)
            z, _ = plain.step_with_losses(z, t)
            assert torch.equal(found, z)
    assert [record.getMessage() for record in caplog.records] == [
        "steps run uncompiled: RuntimeError: no compiler found"
    ]


def test_compiling_is_for_long_runs_of_layers_that_are_known() -> None:
    systems = [System.read(training) for training in trainings()]
    assert not will_pay(systems, 1, None)
    assert not will_pay(systems, 1, 1000)
    assert will_pay(systems, 1, 10**6)
    [own] = trainings(1, loss_fn=lambda o, y: (o - y).square().mean())
    assert not is_recordable(System.read(own))
    assert not will_pay([System.read(own)], 1, 10**6)


@pytest.mark.usefixtures("recorded")
def test_masks_and_counters_are_never_recorded() -> None:
    own = trainings()
    for training in own:
        training.model.append(nn.Dropout(0.5))
    step = TrainingMap(own, compile="on")
    step.step_with_losses(step.initial_state(), 0)
    assert list(step._programs.values()) == [None]


@pytest.mark.slow
def test_compiled_steps_agree_with_others() -> None:
    compilation._programs.clear()
    step, plain = TrainingMap(trainings(), compile="on"), TrainingMap(trainings(), compile="off")
    z = plain.initial_state()
    for t in range(5):
        found, losses = step.step_with_losses(z, t)
        z, expected = plain.step_with_losses(z, t)
        torch.testing.assert_close(found, z, rtol=1e-12, atol=1e-14)
        torch.testing.assert_close(losses, expected, rtol=1e-12, atol=1e-14)
    [program] = step._programs.values()
    assert program is not None
