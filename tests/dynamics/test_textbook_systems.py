"""Fixed facts of the textbook systems, and that they compose with torch.func."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.func import jacrev, jvp, vmap

from lyapopt.dynamics import systems
from lyapopt.dynamics.maps import difference
from lyapopt.dynamics.systems import (
    CatMap,
    Flow,
    Henon,
    Ikeda,
    LinearMap,
    Logistic,
    Lorenz,
    Lozi,
    RandomMatrices,
    Rossler,
    StandardMap,
    Tent,
    TextbookSystem,
)
from lyapopt.errors import UserError

MATRIX = torch.tensor([[1.1, 0.4], [0.0, 0.7]], dtype=torch.float64)
EVERY = [
    Logistic(),
    Tent(),
    Henon(),
    Lozi(),
    Ikeda(),
    CatMap(),
    StandardMap(),
    Lorenz(),
    Rossler(),
    LinearMap(MATRIX),
    RandomMatrices(dim=4),
]


def jacobians(step: TextbookSystem, z: Tensor, t: int = 0) -> Tensor:
    """Jacobians of every system's reference, `(systems, dim, dim)`."""

    def flat(x: Tensor) -> Tensor:
        return step(x.view(z.shape), t).reshape(-1)

    full = jacrev(flat)(z.reshape(-1)).view(len(z), step.dim, len(z), step.dim)
    return torch.stack([full[i, :, i] for i in range(len(z))])


def spectrum(step: TextbookSystem, z: Tensor, steps: int, burn_in: int = 20) -> Tensor:
    """Exponents `(dim,)` by QR, averaged over the systems of `z`."""
    basis = torch.eye(step.dim, dtype=z.dtype).expand(len(z), -1, -1)
    total = torch.zeros(step.dim, dtype=z.dtype)
    for t in range(burn_in + steps):

        def push(v: Tensor, z: Tensor = z, t: int = t) -> Tensor:
            return jvp(lambda x: step(x, t), (z,), (v,))[1]

        pushed = vmap(push, in_dims=-1, out_dims=-1)(basis.unsqueeze(1)).squeeze(1)
        z = step(z, t)
        basis, r = torch.linalg.qr(pushed)
        if t >= burn_in:
            total += r.diagonal(dim1=-2, dim2=-1).abs().log().mean(0)
    return (total / steps).sort(descending=True).values


@pytest.mark.parametrize("step", EVERY, ids=lambda s: type(s).__name__)
def test_states_keep_their_shape_and_stay_bounded(step: TextbookSystem) -> None:
    z = step.initial_state(systems=3, seed=1).expand(3, 2, step.dim)
    assert z.dtype == torch.float64
    for t in range(10):
        z = step(z, t)
    assert z.shape == (3, 2, step.dim)
    assert z.isfinite().all()
    assert z.abs().max() < 1e3
    assert torch.equal(z[:, 0], z[:, 1])


@pytest.mark.parametrize("step", EVERY, ids=lambda s: type(s).__name__)
def test_initial_states_follow_from_the_seed_and_do_not_depend_on_their_number(
    step: TextbookSystem,
) -> None:
    many = step.initial_state(systems=4, seed=2)
    # Vectorised kernels may round otherwise, and chaos amplifies it over a transient.
    step.transient = 0
    many, few = step.initial_state(systems=4, seed=2), step.initial_state(systems=2, seed=2)
    assert torch.equal(many[:2], few)
    assert not torch.equal(many[0], many[1])
    assert not torch.equal(few, step.initial_state(systems=2, seed=3))
    del step.transient


@pytest.mark.parametrize("step", EVERY, ids=lambda s: type(s).__name__)
def test_tangents_agree_with_central_differences(step: TextbookSystem) -> None:
    z = step.initial_state(systems=3, seed=5)
    v = torch.randn(z.shape, dtype=z.dtype, generator=torch.Generator().manual_seed(0))
    radius = 1e-6
    tangent = jvp(lambda x: step(x, 7), (z,), (v,))[1]
    central = difference(step, step(z + radius * v, 7), step(z - radius * v, 7)) / (2 * radius)
    torch.testing.assert_close(tangent, central, rtol=1e-6, atol=1e-7)


def test_the_determinant_of_henon_and_lozi_is_minus_b() -> None:
    for step, b in ((Henon(1.3, 0.25), 0.25), (Lozi(), 0.5)):
        determinants = torch.linalg.det(jacobians(step, step.initial_state(5)))
        torch.testing.assert_close(determinants, torch.full_like(determinants, -b))


def test_the_determinant_of_ikeda_is_the_square_of_its_parameter() -> None:
    determinants = torch.linalg.det(jacobians(Ikeda(0.8), Ikeda(0.8).initial_state(5)))
    torch.testing.assert_close(determinants, torch.full_like(determinants, 0.64))


@pytest.mark.parametrize("step", [CatMap(), StandardMap(1.3), StandardMap(8.0)])
def test_maps_of_the_torus_preserve_area(step: TextbookSystem) -> None:
    determinants = torch.linalg.det(jacobians(step, step.initial_state(5)))
    torch.testing.assert_close(determinants, torch.ones_like(determinants))


def test_differences_on_the_torus_go_the_short_way() -> None:
    a = torch.tensor([[[0.98, 0.1]]], dtype=torch.float64)
    b = torch.tensor([[[0.03, 0.9]]], dtype=torch.float64)
    expected = torch.tensor([[[-0.05, 0.2]]], dtype=torch.float64)
    torch.testing.assert_close(CatMap().difference(a, b), expected)
    full = 2 * math.pi
    torch.testing.assert_close(StandardMap().difference(full * a, full * b), full * expected)


def test_the_divergence_of_lorenz_is_constant() -> None:
    step = Lorenz()
    for z in step.initial_state(systems=4):
        jacobian = jacrev(lambda x: step.field(x.view(1, 1, 3)).view(3))(z.view(3))
        assert float(jacobian.trace()) == pytest.approx(-(10 + 1 + 8 / 3), abs=1e-12)


@pytest.mark.parametrize("flow", [Lorenz, Rossler])
def test_the_runge_kutta_step_has_fourth_order(flow: type[Flow]) -> None:
    z = flow().initial_state()

    def after(dt: float, time: float = 0.32) -> Tensor:
        step, state = flow(dt=dt), z
        for t in range(round(time / dt)):
            state = step(state, t)
        return state

    exact = after(0.0005)
    errors = [float((after(dt) - exact).norm()) for dt in (0.02, 0.01, 0.005)]
    orders = [math.log2(errors[0] / errors[1]), math.log2(errors[1] / errors[2])]
    assert all(3.7 < order < 4.4 for order in orders)


def test_parameters_may_differ_between_systems() -> None:
    step = Logistic(torch.tensor([3.2, 4.0], dtype=torch.float64))
    z = step.initial_state()
    assert z.shape == (2, 1, 1)
    both = step(z, 0)
    assert torch.equal(both[1:], Logistic(4.0)(z[1:], 0))
    assert torch.equal(both[:1], Logistic(3.2)(z[:1], 0))
    assert step.exponents is None


def test_parameters_of_unequal_lengths_are_refused() -> None:
    with pytest.raises(UserError, match=r"\[2, 3\] systems"):
        Henon(torch.ones(2), torch.ones(3))
    with pytest.raises(UserError, match="given for 2"):
        Logistic(torch.full((2,), 3.9)).initial_state(systems=5)
    with pytest.raises(UserError, match="must be a number"):
        Logistic(torch.ones(2, 2))


def test_the_tent_with_slope_two_is_refused_and_others_do_not_collapse() -> None:
    with pytest.raises(UserError, match=r"1\.99"):
        Tent(2.0)
    z = Tent().initial_state(systems=8)
    for t in range(2000):
        z = Tent()(z, t)
    assert (z > 0).all()


def test_random_matrices_are_a_function_of_seed_system_and_time() -> None:
    step = RandomMatrices(dim=3, seed=4)
    assert torch.equal(step.matrices(2, 5), RandomMatrices(dim=3, seed=4).matrices(4, 5)[:2])
    assert not torch.equal(step.matrices(1, 5), step.matrices(1, 6))
    assert not torch.equal(step.matrices(1, 5), RandomMatrices(dim=3, seed=5).matrices(1, 5))


def test_a_linear_map_that_is_not_square_is_refused() -> None:
    with pytest.raises(UserError, match="dim, dim"):
        LinearMap(torch.ones(2, 3))


def test_known_exponents_of_linear_systems_are_exact() -> None:
    assert LinearMap(MATRIX).exponents == pytest.approx((math.log(1.1), math.log(0.7)))
    values = spectrum(RandomMatrices(dim=3), RandomMatrices(dim=3).initial_state(systems=40), 100)
    torch.testing.assert_close(
        values, torch.tensor(RandomMatrices(dim=3).exponents, dtype=values.dtype), atol=0.05, rtol=0
    )


@pytest.mark.parametrize("step", [Henon(), Lozi(), Ikeda(), Logistic(), Tent(), CatMap()])
def test_known_exponents_of_maps_agree_with_a_run(step: TextbookSystem) -> None:
    step.transient = min(step.transient, 100)
    values = spectrum(step, step.initial_state(systems=1000), 60)
    del step.transient
    assert step.exponents is not None
    expected = torch.tensor(step.exponents, dtype=values.dtype)
    torch.testing.assert_close(values, expected, atol=0.01, rtol=0)


def test_orbits_of_a_flow_that_keeps_its_phase_do_not_all_stand_at_one_place() -> None:
    x, y, _ = Rossler(dt=0.1).initial_state(systems=60).unbind(-1)
    turns = torch.complex(x, y)
    assert (turns / turns.abs()).mean().abs() < 0.5


@pytest.mark.slow
@pytest.mark.parametrize("step", [Lorenz(), Rossler()])
def test_known_exponents_of_flows_agree_with_a_run(step: Flow) -> None:
    steps = int(60 / step.dt)
    values = spectrum(step, step.initial_state(systems=400), steps) / step.dt
    assert step.exponents is not None
    expected = torch.tensor(step.exponents, dtype=values.dtype) / step.dt
    torch.testing.assert_close(values, expected, atol=0.03, rtol=0.002)


def test_every_system_is_exported() -> None:
    exported = {getattr(systems, name) for name in systems.__all__}
    assert {type(step) for step in EVERY} <= exported


def test_no_systems_at_all_are_refused() -> None:
    with pytest.raises(UserError, match="positive"):
        Henon().initial_state(0)
