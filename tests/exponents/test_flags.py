"""Negative controls: what has no good exponent is flagged, never a crash or a bare NaN."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.data import read_examples, read_order
from lyapopt.dynamics.systems import Henon, LinearMap, Logistic
from lyapopt.exponents import from_neighbours, spectrum

SGD = torch.optim.SGD


def names(result, row: int = 0) -> set[str]:
    return {flag.name for flag in result.flags[row]}


def test_shuffled_batches_on_a_convex_problem_give_the_exact_negative_exponent():
    source = torch.Generator().manual_seed(3)
    x = torch.randn(24, 3, dtype=torch.float64, generator=source)
    y = torch.randn(24, 1, dtype=torch.float64, generator=source)
    model = nn.Linear(3, 1, bias=False, dtype=torch.float64)
    training = Training(
        model, oracle.half_mse, SGD(model.parameters(), lr=0.2), (x, y), batch_size=4, seed=5
    )
    step = TrainingMap([training])
    steps, burn_in = 240, 180
    order = read_order((x, y), read_examples((x, y)), 4, 5)
    product, logs = torch.eye(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for t in range(steps):
        batch = x[order.epoch(t // 6)[t % 6]]
        product, r = torch.linalg.qr(
            (torch.eye(3, dtype=torch.float64) - 0.2 / 4 * batch.T @ batch) @ product
        )
        logs += r.diagonal().abs().log() * (t >= burn_in)
    exact = logs / 60
    tangents = spectrum(step, step.initial_state(), 60, burn_in=burn_in)
    assert (tangents.values[0] < 0).all()
    torch.testing.assert_close(tangents.values[0], exact, rtol=0, atol=1e-9)
    found = from_neighbours(step, step.initial_state(), 60, burn_in=burn_in, neighbours=2)
    assert abs(found.value.item() - exact[0].item()) < 1e-6
    assert found.value.item() < 0


def test_a_dead_relu_network_has_exponent_zero_and_the_flag_dead():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    model[0].bias.data.fill_(-1e3)
    model[2].bias.requires_grad_(False)
    x = torch.rand(8, 3, dtype=torch.float64)
    step = TrainingMap(
        [Training(model, nn.MSELoss(), SGD(model.parameters(), lr=0.1), (x, x[:, :1]))]
    )
    z0 = step.initial_state()
    found = from_neighbours(step, z0, 30, neighbours=3)
    assert abs(found.value.item()) < 1e-9
    assert {"dead", "unchanged"} <= names(found)
    tangents = spectrum(step, z0, 30)
    assert tangents.values.abs().max().item() < 1e-15
    assert "unchanged" in names(tangents)
    assert tangents.kaplan_yorke_dimension().item() == z0.shape[-1]


@pytest.mark.parametrize(
    "make",
    [
        lambda p: SGD(p, lr=0.1, momentum=0.9),
        lambda p: torch.optim.Adam(p, lr=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.1, centered=True, momentum=0.5),
    ],
    ids=["momentum", "Adam", "RMSprop"],
)
@pytest.mark.parametrize("k", [2, None])
def test_a_dead_network_is_dead_in_its_spectrum_whatever_the_slots_do(make, k):
    model = nn.Sequential(nn.Linear(2, 3), nn.ReLU()).double()
    model[0].bias.data.fill_(-1e3)
    x = torch.rand(8, 2, dtype=torch.float64)
    training = Training(
        model, nn.MSELoss(), make(model.parameters()), (x, x.new_zeros(8, 3)), clip_grad_norm=1.0
    )
    step = TrainingMap([training])
    found = spectrum(step, step.initial_state(), 5, k=k)
    assert "dead" in names(found)
    assert not torch.isnan(found.values).any()


def test_a_network_that_rests_in_a_minimum_is_not_dead():
    # Two weights, one example: a flat direction beside a curved one, and no gradient.
    model = nn.Linear(2, 1, bias=False, dtype=torch.float64)
    nn.init.constant_(model.weight, 0.0)
    x, y = torch.tensor([[1.0, 2.0]]).double(), torch.zeros(1, 1).double()
    step = TrainingMap([Training(model, nn.MSELoss(), SGD(model.parameters(), lr=0.05), (x, y))])
    found = spectrum(step, step.initial_state(), 40, burn_in=80)
    assert "dead" not in names(found)
    assert abs(found.value.item()) < 1e-12  # the flat direction
    assert found.values[0, 1].item() == pytest.approx(math.log(abs(1 - 0.05 * 2 * 5)), abs=1e-9)
    assert "dead" not in names(from_neighbours(step, step.initial_state(), 40, neighbours=4))


def test_a_rotation_is_unchanged_but_not_dead():
    cosine, sine = math.cos(1), math.sin(1)
    turn = torch.tensor([[cosine, -sine], [sine, cosine]], dtype=torch.float64)
    found = from_neighbours(LinearMap(turn), torch.ones(1, 1, 2).double(), 30, neighbours=2)
    assert "unchanged" in names(found)
    assert "dead" not in names(found)


def test_dead_relu_networks_do_not_break_adam():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1)).double()
    model[0].bias.data[:2] = -1e3
    x = torch.rand(8, 3, dtype=torch.float64)
    adam = torch.optim.Adam(model.parameters(), lr=0.01)
    step = TrainingMap([Training(model, nn.MSELoss(), adam, (x, x[:, :1]))])
    assert torch.isfinite(from_neighbours(step, step.initial_state(), 10, neighbours=2).value).all()
    assert torch.isfinite(spectrum(step, step.initial_state(), 10, k=3).values).all()


def test_one_weight_and_one_output_are_enough():
    step = TrainingMap([oracle.quadratic([1.0], lambda p: SGD(p, lr=0.5))])
    found = from_neighbours(step, step.initial_state(), 10, neighbours=4)
    torch.testing.assert_close(found.value.item(), math.log(0.5), rtol=0, atol=1e-6)
    assert spectrum(step, step.initial_state(), 10).values.shape == (1, 1)


def test_a_growth_of_zero_is_minus_infinity_with_a_flag():
    def halt(z: Tensor, t: int) -> Tensor:
        return z * 0.0 + 1.0

    z0 = torch.ones(2, 1, 3).double()
    found = from_neighbours(halt, z0, 25, neighbours=2)
    assert found.value.tolist() == [-math.inf] * 2
    assert found.mean_log.tolist() == [-math.inf] * 2
    assert found.has_flag("collapsed") == [True] * 2
    assert found.flags[0][0].step == 1
    assert all(torch.isnan(end).all() for end in found.interval())
    tangents = spectrum(halt, z0, 25)
    assert torch.isneginf(tangents.values).all()
    assert tangents.has_flag("collapsed") == [True] * 2


def test_a_small_growth_is_no_zero():
    step = LinearMap(torch.diag(torch.tensor([2.0, 1e-20], dtype=torch.float64)))
    found = spectrum(step, torch.ones(1, 1, 2).double(), 30, burn_in=5)
    torch.testing.assert_close(found.values[0, 1].item(), math.log(1e-20), rtol=1e-12, atol=0)
    assert found.has_flag("collapsed") == [False]


def test_a_run_that_diverges_says_when_and_keeps_what_came_before():
    r = torch.tensor([5.0], dtype=torch.float64)
    z0 = torch.full((1, 1, 1), 0.3, dtype=torch.float64)
    found = from_neighbours(Logistic(r), z0, 40, neighbours=2)
    assert "diverged" in names(found)
    assert math.isfinite(found.value.item())
    assert found.value.item() > 0
    at = found.flags[0][0].step
    z = z0
    for t in range(40):
        z = Logistic(r)(z, t)
        if not torch.isfinite(z).all():
            assert at in (t, t + 1)  # squares of neighbours overflow a step early
            break
    assert all(torch.isnan(end).all() for end in found.interval())


def test_a_state_that_is_no_number_from_the_start_is_flagged():
    z0 = torch.tensor([[[0.3]], [[math.nan]]], dtype=torch.float64)
    found = from_neighbours(Logistic(3.9), z0, 30, neighbours=2)
    assert found.has_flag("diverged") == [False, True]
    assert math.isnan(found.value[1].item())
    tangents = spectrum(Logistic(3.9), z0, 30)
    assert tangents.has_flag("diverged") == [False, True]
    assert math.isnan(tangents.value[1].item())
    assert math.isfinite(tangents.value[0].item())


def test_too_long_segments_leave_the_linear_regime():
    found = from_neighbours(Henon(), Henon().initial_state(2), 120, neighbours=2, segment=60)
    assert found.has_flag("nonlinear") == [True, True]


def test_too_long_between_two_qr_is_flagged():
    found = spectrum(Henon(), Henon().initial_state(1), 300, qr_every=30)
    assert "precision" in names(found)
    overflowing = spectrum(
        LinearMap(torch.diag(torch.tensor([1e10, 1.0], dtype=torch.float64))),
        torch.zeros(1, 1, 2).double(),
        100,
        qr_every=50,
    )
    assert "precision" in names(overflowing)


def test_float32_with_a_doubtful_radius_is_flagged():
    z0 = torch.full((1, 1, 4), 0.3)
    found = from_neighbours(lambda z, t: 0.999 * z, z0, 30, neighbours=2, radius=1e-4)
    assert "precision" in names(found)
    coarse = from_neighbours(lambda z, t: 0.5 * z, z0, 30, neighbours=2, radius=1e-1)
    assert "precision" not in names(coarse)


def test_a_transient_is_flagged_as_not_converged():
    matrix = torch.diag(torch.linspace(0.95, 0.2, 12, dtype=torch.float64))
    z0 = torch.ones(1, 1, 12).double()
    assert "not-converged" in names(from_neighbours(LinearMap(matrix), z0, 60, neighbours=2))
    settled = from_neighbours(LinearMap(matrix), z0, 60, neighbours=2, burn_in=500)
    assert "not-converged" not in names(settled)
    chaotic = from_neighbours(Logistic(3.9), Logistic(3.9).initial_state(40), 400, neighbours=1)
    assert sum(chaotic.has_flag("not-converged")) <= 2


@pytest.mark.parametrize("horizon", [1, 5])
def test_one_neighbour_over_a_few_steps_has_no_interval(horizon):
    found = from_neighbours(Henon(), Henon().initial_state(1), horizon, neighbours=1)
    assert "no-interval" in names(found)
    for over in ("time", "neighbours", "replicas"):
        assert all(torch.isnan(end).all() for end in found.interval(over=over))
    assert "no-interval" in names(spectrum(Henon(), Henon().initial_state(1), horizon))
