"""A row of a stack depends on nothing but its own training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, RMSprop
from training_oracle import regression

from lyapopt.dynamics import Training, TrainingMap, stack
from lyapopt.errors import NotStackableError

D = torch.float64


def make(seed: int, optimizer_type: Any = SGD, **own: Any) -> Training:
    torch.manual_seed(seed)
    # No bias before BatchNorm: its gradient is zero but for rounding, and Adam divides by that.
    model = nn.Sequential(
        nn.Linear(3, 6, bias=False, dtype=D),
        nn.BatchNorm1d(6, dtype=D),
        nn.Tanh(),
        nn.Dropout(0.3),
        nn.Linear(6, 2, dtype=D),
    )
    return Training(
        model,
        nn.MSELoss(),
        optimizer_type(model.parameters(), lr=0.01 * (1 + seed), **own),
        regression(),
        batch_size=4,
        seed=seed,
    )


def run(step: TrainingMap, z: Tensor, steps: int = 12) -> Tensor:
    for t in range(steps):
        z, _ = step.step_with_losses(z, t)
    return z


def perturbed(z: Tensor, trajectories: int) -> Tensor:
    noise = torch.randn(
        len(z), trajectories, z.shape[-1], dtype=z.dtype, generator=torch.Generator().manual_seed(0)
    )
    away = torch.zeros_like(noise)
    away[..., :20] = 1e-3 * noise[..., :20]
    away[:, 0] = 0
    return z + away


def assert_close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


OPTIMIZERS = [(SGD, {"momentum": 0.9}), (Adam, {"amsgrad": True}), (RMSprop, {"centered": True})]


@pytest.mark.parametrize(("optimizer_type", "own"), OPTIMIZERS)
def test_one_system_alone_is_the_same_system_in_a_stack(optimizer_type: Any, own: Any) -> None:
    together = TrainingMap([make(seed, optimizer_type, **own) for seed in range(4)])
    z = together.initial_state()
    for t in range(6):
        z_next, losses = together.step_with_losses(z, t)
        for row in range(4):
            alone, loss = TrainingMap([make(row, optimizer_type, **own)]).step_with_losses(
                z[row : row + 1], t
            )
            assert_close(alone[0], z_next[row])
            assert_close(loss[0], losses[row])
        z = z_next


@pytest.mark.parametrize(("optimizer_type", "own"), OPTIMIZERS)
def test_dropping_rows_changes_no_other_row(optimizer_type: Any, own: Any) -> None:
    step = TrainingMap([make(seed, optimizer_type, **own) for seed in range(5)])
    z = perturbed(step.initial_state(), 3)
    rows = [4, 1]
    assert_close(run(step.select(rows), z[rows]), run(step, z)[rows])


@pytest.mark.parametrize(
    ("optimizer_type", "own", "other"),
    [
        (SGD, {}, {"momentum": 0.9}),
        (Adam, {}, {"amsgrad": True}),
        (RMSprop, {}, {"momentum": 0.9}),
        (RMSprop, {}, {"centered": True}),
    ],
)
def test_systems_whose_optimizers_keep_other_slots_share_no_stack(
    optimizer_type: Any, own: Any, other: Any
) -> None:
    trainings = [make(0, optimizer_type, **own), make(1, optimizer_type, **other)]
    maps = stack(trainings)
    assert [positions for positions, _ in maps] == [[0], [1]]
    for training, (_, step) in zip(trainings, maps, strict=True):
        alone = TrainingMap([training]).initial_state()
        assert_close(step.initial_state(), alone)
    with pytest.raises(NotStackableError, match="differ in more than numbers"):
        TrainingMap(trainings)


def test_flags_stay_with_their_rows_when_rows_are_dropped() -> None:
    step = TrainingMap([make(s, Adam, maximize=s == 2) for s in range(4)])
    z = step.initial_state()
    assert_close(run(step.select([3, 2, 1]), z[[3, 2, 1]]), run(step, z)[[3, 2, 1]])


def test_permuting_systems_permutes_results() -> None:
    order = [2, 0, 3, 1]
    step = TrainingMap([make(seed, Adam) for seed in range(4)])
    permuted = TrainingMap([make(seed, Adam) for seed in order])
    assert_close(permuted.initial_state(), step.initial_state()[order])
    z = perturbed(step.initial_state(), 2)
    assert_close(run(permuted, z[order]), run(step, z)[order])


def test_trajectories_of_a_system_see_the_same_batch_and_mask() -> None:
    step = TrainingMap([make(seed) for seed in range(3)])
    z = run(step, step.initial_state().expand(3, 4, -1))
    assert torch.equal(z, z[:, :1].expand_as(z))


def test_a_row_of_nan_leaves_the_others_alone() -> None:
    step = TrainingMap([make(seed, Adam) for seed in range(3)])
    z = perturbed(step.initial_state(), 2)
    expected = run(step, z)
    broken = z.clone()
    broken[1, 1] = float("nan")
    found = run(step, broken)
    assert found[1, 1].isnan().any()
    found[1, 1] = expected[1, 1]
    assert_close(found, expected)


def test_systems_may_have_data_of_their_own() -> None:
    trainings = [make(seed) for seed in range(3)]
    trainings[2].data = regression(seed=9)
    step = TrainingMap(trainings)
    z = perturbed(step.initial_state(), 2)
    for row in range(3):
        alone = TrainingMap([trainings[row]])
        assert_close(run(alone, z[row : row + 1])[0], run(step, z)[row])
        assert_close(alone.outputs(z[row : row + 1])[0], step.outputs(z)[row])


def test_full_batches_of_different_data_agree_with_single_systems() -> None:
    trainings = [make(seed) for seed in range(2)]
    for seed, training in enumerate(trainings):
        training.data, training.batch_size = regression(seed=seed), None
    step = TrainingMap(trainings)
    z = perturbed(step.initial_state(), 2)
    alone = [run(TrainingMap([t]), z[row : row + 1])[0] for row, t in enumerate(trainings)]
    assert_close(torch.stack(alone), run(step, z))


def test_equal_data_are_kept_once_even_if_built_twice() -> None:
    step = TrainingMap([make(seed) for seed in range(3)])
    assert step._batches._shares_data


def test_stepping_twice_from_one_state_gives_one_result_and_leaves_the_state() -> None:
    step = TrainingMap([make(0, Adam)])
    z = step.initial_state()
    kept = z.clone()
    assert torch.equal(step(z, 3), step(z, 3))
    assert torch.equal(z, kept)


def test_nothing_of_the_user_changes() -> None:
    training = make(0, Adam)
    weights = {k: v.clone() for k, v in training.model.state_dict().items()}
    drawn = torch.random.get_rng_state()
    step = TrainingMap([training])
    run(step, step.initial_state())
    assert torch.equal(drawn, torch.random.get_rng_state())
    assert all(torch.equal(v, weights[k]) for k, v in training.model.state_dict().items())
    assert all(p.grad is None for p in training.model.parameters())
    assert not training.optimizer.state


def test_evaluations_and_examples_are_counted() -> None:
    step = TrainingMap([make(seed) for seed in range(3)])
    run(step, step.initial_state().expand(3, 2, -1), steps=5)
    assert step.gradient_evaluations == 5 * 3 * 2
    assert step.examples == 5 * 3 * 2 * 4
    assert step.steps_per_epoch == 3
    assert step.batch_size == 4


def test_a_stack_holds_every_training_once_in_order_of_first_appearance() -> None:
    trainings = [make(0, momentum=0.9), make(1, Adam), make(2, momentum=0.5), make(3, Adam)]
    maps = stack(trainings)
    assert [positions for positions, _ in maps] == [[0, 2], [1, 3]]
    assert [m.trainings[1] for _, m in maps] == [trainings[2], trainings[3]]
    assert stack([]) == []


def test_retract_puts_impossible_moments_right_and_leaves_others() -> None:
    step = TrainingMap([make(0, Adam, amsgrad=True)])
    z = run(step, step.initial_state())
    assert torch.equal(step.retract(z), z)
    broken = z.clone()
    step.slots(broken)["exp_avg_sq"][..., 0] = -1e-20
    right = step.retract(broken)
    assert step.slots(right)["exp_avg_sq"].min() >= 0
    assert step.slots(broken)["exp_avg_sq"].min() < 0
    centred = TrainingMap([make(0, RMSprop, centered=True)])
    z = centred.initial_state()
    centred.slots(z)["grad_avg"].fill_(2.0)
    assert bool((centred.slots(centred.retract(z))["square_avg"] == 4.0).all())
