"""Eq. 4 from neighbours: what each option measures."""

from __future__ import annotations

import math

import exponent_oracle as oracle
import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lyapopt.dynamics import Training, TrainingMap
from lyapopt.dynamics.systems import CatMap, Henon, LinearMap, Logistic
from lyapopt.errors import RadiusError, UserError
from lyapopt.exponents import Quantity, from_neighbours, from_tangents, spectrum

SGD = torch.optim.SGD


def descent(lr: float = 0.1) -> tuple[TrainingMap, Tensor]:
    step = TrainingMap([oracle.quadratic([4.0, 1.0, 0.5, 0.25], lambda p: SGD(p, lr=lr))])
    return step, step.initial_state()


def test_redrawing_measures_the_isotropic_growth():
    # E |J u|^2 over the sphere is the mean of squares of the factors 1 - lr h.
    step, z0 = descent()
    found = from_neighbours(step, z0, 40, neighbours=400, redraw=True)
    factors = [1 - 0.1 * h for h in (4.0, 1.0, 0.5, 0.25)]
    assert found.quantity is Quantity.ISOTROPIC_GROWTH
    low, high = found.interval(over="neighbours")
    bound = 0.5 * math.log(sum(f * f for f in factors) / 4)  # the mean of norms is a little less
    assert bound - 0.02 < found.value.item() < bound
    assert 0 < (high - low).item() < 0.01
    small = from_neighbours(*descent(1e-4), 5, neighbours=400, redraw=True).value.item()
    assert abs(small / (-1e-4 * 5.75 / 4) - 1) < 0.1  # -lr tr(H) / P


def test_an_unaligned_start_is_biased_and_a_burn_in_removes_it():
    step, z0 = descent()
    exact = math.log(1 - 0.1 * 0.25)
    short = from_neighbours(step, z0, 10, neighbours=8)
    assert exact - math.log(4) / 2 / 10 * 3 < short.value.item() < exact - 1e-3
    assert short.alignment is not None
    assert short.alignment.item() < 0.95
    aligned = from_neighbours(step, z0, 10, neighbours=8, burn_in=600)
    assert abs(aligned.value.item() - exact) < 1e-9
    assert aligned.alignment is not None
    assert aligned.alignment.item() > 1 - 1e-6
    assert aligned.gradient_evaluations == 9 * 610


def test_as_in_the_paper_the_logarithm_is_taken_of_the_mean_and_the_mean_log_is_at_most_that():
    step, z0 = descent()
    found = from_neighbours(step, z0, 6, neighbours=8, segment=3, average="paper")
    separations = found.log_separations[:, 0].exp()
    first = (separations[3].mean() / separations[0].mean()).log()
    torch.testing.assert_close(found.increments[0, 0], first)
    torch.testing.assert_close(
        found.mean_log[0], (found.log_separations[-1] - found.log_separations[0])[0].mean() / 6
    )
    assert found.mean_log.item() < found.value.item()
    torch.testing.assert_close(found.values_per_neighbour.mean(-1), found.mean_log)


@pytest.mark.parametrize("segment", [1, 2, 5, 7])
def test_segments_of_any_length_give_the_same_exponent_of_an_aligned_neighbour(segment):
    step, z0 = descent()
    found = from_neighbours(step, z0, 30, neighbours=1, segment=segment, burn_in=300)
    assert abs(found.value.item() - math.log(0.975)) < 1e-9
    assert int(found.segment_steps.sum()) == 30
    assert len(found.increments) == math.ceil(30 / segment)
    torch.testing.assert_close(found.convergence[-1], found.value)


def test_outputs_measure_what_weights_cannot_hide():
    # Scaling hidden weights by c and output weights by 1 / c leaves a ReLU network as it was.
    def network(c: float) -> TrainingMap:
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(3, 6, bias=False), nn.ReLU(), nn.Linear(6, 2, bias=False)
        ).double()
        model[0].weight.data *= c
        model[2].weight.data /= c
        x = torch.randn(16, 3).double()
        training = Training(model, nn.MSELoss(), SGD(model.parameters(), lr=0.01), (x, x[:, :2]))
        return TrainingMap([training])

    step = network(1.0)
    found = from_neighbours(step, step.initial_state(), 10, neighbours=4, distance="outputs")
    out = step.outputs(step.initial_state())
    assert found.forward_passes == 5 * (1 + 10 + 10)
    assert found.distance == "outputs"
    assert out.shape[0] == 1
    # The starting separations are those of the outputs, not the radius.
    assert (found.log_separations[0].exp() / 1e-6 - 1).abs().min() > 0.05
    own = from_neighbours(
        step,
        step.initial_state(),
        10,
        neighbours=4,
        distance=lambda a, b: torch.linalg.vector_norm(step.weights(a - b), dim=-1),
    )
    weights = from_neighbours(step, step.initial_state(), 10, neighbours=4)
    torch.testing.assert_close(own.value, weights.value)


def test_the_linearity_check_compares_with_a_tenth_of_the_radius():
    step, z0 = Henon(), Henon().initial_state(3)
    good = from_neighbours(step, z0, 50, neighbours=2, radius=1e-7, check_linearity=True)
    assert good.linearity_error is not None
    assert good.linearity_error.max() < 1e-5
    assert good.has_flag("nonlinear") == [False] * 3
    assert good.gradient_evaluations == 5 * 50
    plain = from_neighbours(step, z0, 50, neighbours=2, radius=1e-7)
    torch.testing.assert_close(good.value, plain.value, rtol=0, atol=0)
    bad = from_neighbours(step, z0, 48, neighbours=2, radius=1e-3, segment=6, check_linearity=True)
    assert bad.has_flag("nonlinear") == [True] * 3


def test_the_torus_needs_its_own_difference():
    step = CatMap()
    found = from_neighbours(step, step.initial_state(4), 200, neighbours=2, burn_in=40)
    exact = math.log((3 + math.sqrt(5)) / 2)
    torch.testing.assert_close(found.value, torch.full_like(found.value, exact), rtol=0, atol=1e-9)
    values = spectrum(step, step.initial_state(4), 200, burn_in=40).values
    expected = torch.tensor([exact, -exact], dtype=torch.float64).expand(4, 2)
    torch.testing.assert_close(values, expected, rtol=0, atol=1e-9)


def test_the_rows_of_a_diverging_system_disturb_no_other_row():
    r = torch.tensor([3.9, 7.0, 3.7], dtype=torch.float64)
    z0 = torch.full((3, 1, 1), 0.3, dtype=torch.float64)
    found = from_neighbours(Logistic(r), z0, 60, neighbours=2)
    alone = from_neighbours(Logistic(r[[0, 2]]), z0[:2], 60, neighbours=2)
    assert found.has_flag("diverged") == [False, True, False]
    torch.testing.assert_close(found.value[[0, 2]], alone.value, rtol=0, atol=0)
    tangents = spectrum(Logistic(r), z0, 60)
    assert tangents.has_flag("diverged") == [False, True, False]
    assert torch.isfinite(tangents.values[[0, 2]]).all()
    step = tangents.flags[1][0].step
    assert step == found.flags[1][0].step


def test_weights_of_a_map_may_be_any_selection_of_coordinates():
    class Selected(LinearMap):
        def weights(self, z: Tensor) -> Tensor:
            return z[..., [2, 0]]  # a copy, not a view

    step = Selected(torch.diag(torch.tensor([2.0, 50.0, 3.0], dtype=torch.float64)))
    found = from_neighbours(step, torch.zeros(1, 1, 3).double(), 5, neighbours=3, burn_in=60)
    assert abs(found.value.item() - math.log(3)) < 1e-9  # the 50 is never perturbed


def test_a_radius_that_cannot_be_resolved_is_refused():
    z0 = torch.full((1, 1, 4), 3.0)
    for radius in (0.0, -1e-3, math.nan, math.inf):
        with pytest.raises(RadiusError, match="positive"):
            from_neighbours(lambda z, t: z, z0, 3, radius=radius)
    with pytest.raises(RadiusError, match="float64"):
        from_neighbours(lambda z, t: z, z0, 3, radius=1e-6)
    with pytest.raises(RadiusError, match="tenth"):
        from_neighbours(lambda z, t: z, z0, 3, radius=2e-4, check_linearity=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"horizon": 0}, "horizon"),
        ({"neighbours": 0}, "neighbours"),
        ({"segment": -1}, "segment"),
        ({"burn_in": -1}, "burn_in"),
        ({"distance": "angle"}, "distance"),
        ({"average": "mean"}, "average"),
        ({"distance": "outputs"}, "outputs"),
        ({"distance": lambda a, b: a}, "shape"),
        ({"seed": [1, 2]}, "seed"),
        ({"seed": None}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"seed": "a"}, "seed"),
        ({"z0": torch.zeros(3, 2)}, "shape"),
        ({"z0": torch.zeros(1, 1, 2, dtype=torch.int64)}, "float"),
        ({"step": lambda z, t: z[:, :1]}, "keep"),
    ],
    ids=lambda value: value if isinstance(value, str) else "-".join(value),
)
def test_arguments_out_of_range_are_explained(change, message):
    arguments = {"step": lambda z, t: z, "z0": torch.ones(1, 1, 2).double(), "horizon": 3}
    with pytest.raises(UserError, match=message):
        from_neighbours(**{**arguments, **change})


def test_numbers_of_numpy_are_numbers():
    step, z0 = Henon(), Henon().initial_state(2)
    plain = from_neighbours(step, z0, 6, neighbours=2, segment=2, burn_in=1, radius=1e-6, seed=3)
    number = np.int64
    found = from_neighbours(
        step,
        z0,
        number(6),
        neighbours=number(2),
        segment=number(2),
        burn_in=number(1),
        radius=np.float64(1e-6),
        seed=number(3),
    )
    assert torch.equal(found.value, plain.value)
    assert type(found.gradient_evaluations) is int
    assert torch.equal(
        spectrum(step, z0, number(4), k=number(1)).value, spectrum(step, z0, 4, k=1).value
    )
    seeds = from_neighbours(step, z0, 6, neighbours=2, seed=np.array([3, 4]))
    assert torch.equal(seeds.value, from_neighbours(step, z0, 6, neighbours=2, seed=[3, 4]).value)


def test_a_map_that_works_in_place_leaves_the_initial_state_alone():
    z0 = torch.ones(1, 1, 2).double()
    for measure in (from_neighbours, from_tangents, spectrum):
        found = measure(lambda z, t: z.mul_(0.5 + 0.1 * t), z0, 3)
        exact = sum(math.log(0.5 + 0.1 * t) for t in range(3)) / 3
        assert found.value.item() == pytest.approx(exact, abs=1e-9)
        assert torch.equal(z0, torch.ones_like(z0))
        assert found.final_state[0, 0, 0].item() == pytest.approx(math.exp(3 * exact))


def test_the_time_of_a_step_is_one_number_or_one_a_system():
    found = from_neighbours(Henon(), Henon().initial_state(2), 3)
    for wrong in (torch.ones(3), torch.ones(2, 1)):
        with pytest.raises(UserError, match="each of the 2 systems"):
            found.in_units(per="time", dt=wrong)


def test_the_observer_sees_every_step_and_only_its_own_neighbours():
    seen = []
    from_neighbours(
        Henon(),
        Henon().initial_state(2),
        4,
        neighbours=3,
        burn_in=2,
        check_linearity=True,
        start=7,
        observe=lambda t, z, losses: seen.append((t, tuple(z.shape), losses)),
    )
    assert seen == [(t, (2, 4, 2), None) for t in range(7, 13)]
