"""A learning rate for one network: exact edges, cost, what cannot be known, and the two doors."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Quadratic, tanh_network
from recipes import recipe_with
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, OneCycleLR

import lyapopt
from lyapopt.errors import UserError
from lyapopt.search import SteeringFailedError
from lyapopt.search.steering import Steering

GRID = 10**0.25  # between the last rates of a search
MakeOptimizer = Callable[..., torch.optim.Optimizer]


def quadratic(
    curvature: float = 10.0, make: MakeOptimizer = torch.optim.SGD, **options: Any
) -> dict[str, Any]:
    """h w^2 / 2 from w = 1, as the objects of a loop."""
    model = nn.Linear(1, 1, bias=False, dtype=torch.float64)
    nn.init.ones_(model.weight)
    x = torch.full((1, 1), (curvature / 2) ** 0.5, dtype=torch.float64)
    optimizer = make(model.parameters(), lr=options.pop("lr", 1.0), **options)
    data = {"model": model, "optimizer": optimizer, "loader": (x, 0 * x)}
    return {**data, "loss_fn": nn.functional.mse_loss}


def network(
    dtype: torch.dtype = torch.float32, make: MakeOptimizer = torch.optim.SGD
) -> dict[str, Any]:
    """A small classification in mini-batches."""
    torch.manual_seed(0)
    x = torch.randn(256, 8, generator=torch.Generator().manual_seed(1))
    model = nn.Sequential(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 3))
    data = torch.utils.data.TensorDataset(x.to(dtype), x[:, :3].argmax(1))
    loader = torch.utils.data.DataLoader(data, 32, shuffle=True)
    model = model.to(dtype)
    optimizer = make(model.parameters(), lr=0.01)
    return {
        "model": model,
        "optimizer": optimizer,
        "loader": loader,
        "loss_fn": nn.CrossEntropyLoss(),
    }


def without_a_living_unit(make: MakeOptimizer) -> dict[str, Any]:
    model = nn.Sequential(nn.Linear(1, 1, bias=False), nn.ReLU())
    nn.init.constant_(model[0].weight, -1.0)
    data = {"model": model, "optimizer": make(model.parameters(), lr=0.1)}
    return {**data, "loader": (torch.ones(4, 1), torch.ones(4, 1)), "loss_fn": nn.MSELoss()}


@pytest.mark.parametrize("curvature", [1.0, 37.0, 3000.0])
def test_gradient_descent_on_a_quadratic_gets_the_last_rate_below_its_edge(
    curvature: float,
) -> None:
    found = lyapopt.find_lr(**quadratic(curvature))
    edge = 2 / curvature  # |1 - lr h| = 1
    assert found.status == "crossed"
    assert found.notes == ()
    assert edge / GRID / 1.01 <= found.rate < edge
    hot = found.table.set_index("rate")["is_hot"]
    assert hot[hot.index > edge].all()
    assert not hot[hot.index < edge].any()


@pytest.mark.parametrize("beta", [0.5, 0.9])
def test_a_heavy_ball_gets_no_more_than_its_own_edge_and_no_less_than_that_without_momentum(
    beta: float,
) -> None:
    found = lyapopt.find_lr(**quadratic(10.0, momentum=beta))
    # Far below the edge the ball swings: a separation grows for steps, and shrinks over a period.
    assert (1 - beta) * 0.2 / GRID < found.rate < 2 * (1 + beta) / 10.0


def test_exponents_of_the_table_are_exact_and_its_falls_are_those_of_the_loss() -> None:
    found = lyapopt.find_lr(**quadratic(7.0))
    known = found.table[found.table["verdict"] != "diverged"]
    assert len(known) > 2
    for row in known.itertuples():
        factor = abs(1 - 7 * row.rate)
        assert row.exponent == pytest.approx(math.log(factor), rel=1e-4)
        late = sum(factor ** (2 * t) for t in range(4, 8)) / 4
        assert row.fall == pytest.approx(1 - late, rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(
    steps=st.integers(1, 2000),
    curvature=st.floats(1e-3, 1e5),
    make=st.sampled_from([torch.optim.SGD, torch.optim.Adam]),
)
def test_no_more_than_a_quarter_of_the_steps_is_spent(
    steps: int, curvature: float, make: MakeOptimizer
) -> None:
    found = lyapopt.find_lr(**quadratic(curvature, make), steps=steps)
    assert found.gradient_evaluations <= min(steps / 4, 300)
    assert 1e-5 <= found.rate <= 10
    assert found.status == "crossed" or found.notes


@pytest.mark.parametrize("make", [torch.optim.SGD, torch.optim.Adam])
def test_float32_gets_the_rate_of_float64_and_a_seed_the_same_rate_again(
    make: MakeOptimizer,
) -> None:
    narrow = lyapopt.find_lr(**network(torch.float32, make), seed=3)
    wide = lyapopt.find_lr(**network(torch.float64, make), seed=3)
    assert narrow.status == wide.status == "crossed"
    assert wide.rate / GRID / 1.01 <= narrow.rate <= wide.rate * GRID * 1.01
    assert lyapopt.find_lr(**network(torch.float32, make), seed=3) == narrow
    assert narrow.gradient_evaluations <= 80


def test_the_objects_of_a_loop_and_a_build_function_get_the_same_rate() -> None:
    by_objects = lyapopt.find_lr(**quadratic(10.0), steps=200)
    by_function = lyapopt.steer(Quadratic(curvature=10.0, steps=200))
    assert (by_objects.rate, by_objects.status) == (by_function.rate, by_function.status)
    pd.testing.assert_frame_equal(by_objects.table, by_function.table, rtol=1e-5)


def test_networks_whose_loss_decides_get_a_rate_below_the_one_that_lowers_it_most() -> None:
    found = lyapopt.find_lr(**network(make=torch.optim.Adam))
    best = found.table.loc[found.table["fall"].idxmax(), "rate"]
    assert (found.rule, math.isnan(found.target)) == ("loss", True)
    assert found.rate <= best / GRID * 1.01
    assert found.table["exponent"].isna().all()
    by_exponent = lyapopt.find_lr(**network(make=torch.optim.Adam), target=0.05)
    assert (by_exponent.rule, by_exponent.target) == ("exponent", 0.05)
    assert by_exponent.table["exponent"].notna().any()


WARM_UPS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "linear": lambda optimizer: LinearLR(optimizer, start_factor=1e-3, total_iters=50),
    "one cycle": lambda optimizer: OneCycleLR(optimizer, 1.0, 200, cycle_momentum=False),
    "function": lambda _: lambda step: min(1.0, (step + 1) / 100),
}


@pytest.mark.parametrize("name", WARM_UPS)
def test_a_schedule_that_warms_up_is_said_and_changes_nothing(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    objects = quadratic(10.0, lr=0.1)
    plain = lyapopt.find_lr(**quadratic(10.0), steps=200)
    scheduler = WARM_UPS[name](objects["optimizer"])
    with caplog.at_level(logging.WARNING):
        found = lyapopt.find_lr(**objects, steps=200, scheduler=scheduler)
    assert found.rate == plain.rate
    assert "warms up" in found.notes[0]
    assert "find_lr: the schedule warms up" in caplog.text
    assert "warms up" in str(found)


def test_a_warm_up_is_seen_in_the_optimizer_and_in_a_build_function() -> None:
    objects = quadratic(10.0, lr=0.1)
    LinearLR(objects["optimizer"], start_factor=1e-3)
    assert "warms up" in lyapopt.find_lr(**objects).notes[0]

    def build(params: Any) -> lyapopt.Training:
        own = quadratic(10.0, lr=params["lr"])
        scheduler = LinearLR(own["optimizer"], start_factor=1e-3, total_iters=50)
        parts = own["model"], own["loss_fn"], own["optimizer"], own["loader"]
        return lyapopt.Training(*parts, steps=200, scheduler=scheduler)

    found = lyapopt.steer(build)
    assert "warms up" in found.notes[0]
    assert 0.2 / GRID / 1.01 <= found.rate < 0.2


def test_a_schedule_that_begins_at_its_largest_rate_is_none_to_speak_of() -> None:
    objects = quadratic(10.0, lr=0.1)
    scheduler = CosineAnnealingLR(objects["optimizer"], 100)
    assert lyapopt.find_lr(**objects, scheduler=scheduler).notes == ()


def test_it_says_where_no_rate_or_every_rate_is_too_hot_and_where_nothing_moves() -> None:
    cold = lyapopt.find_lr(**quadratic(1e-3))
    assert (cold.status, cold.rate) == ("cold", 10.0)
    assert "give a higher `high`" in cold.notes[0]
    hot = lyapopt.find_lr(**quadratic(1e9))
    assert (hot.status, hot.rate) == ("hot", pytest.approx(1e-5))
    assert "every rate down to 1e-05 diverges" in hot.notes[0]
    for make in (torch.optim.SGD, torch.optim.Adam):
        dead = lyapopt.find_lr(**without_a_living_unit(make))
        assert dead.status == "dead"
        assert "nothing moves" in dead.notes[0]
    few = lyapopt.find_lr(**quadratic(10.0), steps=20)
    assert (few.status, few.rate, few.gradient_evaluations) == ("unknown", 0.1, 0)
    assert "too few" in few.notes[0]
    some = lyapopt.find_lr(**quadratic(1e4), steps=70)
    assert some.status == "unknown"
    assert "the best may lie below" in some.notes[0]


def test_the_edge_of_a_plateau_is_not_trusted() -> None:
    def flat_at_first(outputs: Tensor, target: Tensor) -> Tensor:
        return 100 + nn.functional.mse_loss(outputs, target)  # which falls by less than 1 %

    found = lyapopt.find_lr(**{**quadratic(1.0), "loss_fn": flat_at_first})
    edge = found.table["rate"][~found.table["is_hot"]].max()
    assert found.status == "slow"
    assert found.rate == pytest.approx(math.sqrt(edge * 0.1))
    assert "the loss hardly falls" in found.notes[0]
    below_what_is_usual = lyapopt.find_lr(**{**quadratic(100.0), "loss_fn": flat_at_first})
    assert below_what_is_usual.status == "crossed"


def test_a_loss_that_refuses_what_has_blown_up_makes_a_rate_too_hot() -> None:
    def careful(outputs: Tensor, target: Tensor) -> Tensor:
        loss = nn.functional.mse_loss(outputs, target)
        if not float(loss) < 100:
            raise ArithmeticError("it blew up")
        return loss

    found = lyapopt.find_lr(**{**quadratic(10.0), "loss_fn": careful})
    assert found.status == "crossed"
    assert 0.2 / GRID / 1.01 <= found.rate < 0.2
    with pytest.raises(Exception, match="it blew up"):
        lyapopt.find_lr(**{**quadratic(1e6), "loss_fn": careful})


def test_groups_of_parameters_keep_their_ratio() -> None:
    objects = quadratic(10.0)
    [group] = objects["optimizer"].param_groups
    extra = nn.Parameter(torch.zeros(1, dtype=torch.float64))
    objects["model"].register_parameter("bias", extra)
    one, other = ({"params": group["params"], "lr": 0.2}, {"params": [extra], "lr": 0.1})
    by_first = lyapopt.find_lr(**{**objects, "optimizer": torch.optim.SGD([one, other])})
    by_other = lyapopt.find_lr(**{**objects, "optimizer": torch.optim.SGD([other, one])})
    assert by_first.rate == pytest.approx(2 * by_other.rate, rel=0.8)
    assert by_first.rate > by_other.rate


def test_what_was_found_is_drawn_and_shown_in_a_notebook() -> None:
    found = lyapopt.find_lr(**quadratic(10.0))
    lines = {trace.name: trace for trace in found.figure().data}
    assert lines["probes, numbered by round"].text is not None
    assert lines["fall of the loss"].x == pytest.approx(found.table["rate"].tolist())
    assert lines[f"chosen: {found.rate:.3g}"].x == pytest.approx([found.rate] * 2, rel=1e-5)
    assert found._repr_html_().startswith(f"<b>lr = {found.rate:.4g}: crossed</b><table>")
    by_loss = lyapopt.find_lr(**network(make=torch.optim.Adam))
    names = [trace.name for trace in by_loss.figure().data]
    assert names == ["fall of the loss", f"chosen: {by_loss.rate:.3g}"]
    assert "a smaller rate lowers the loss more" in by_loss._repr_html_()
    nothing = lyapopt.find_lr(**quadratic(10.0), steps=4)
    assert isinstance(nothing, Steering)
    assert "too few" in nothing.figure().layout.annotations[0].text


def test_steer_explains_what_it_cannot_do() -> None:
    with pytest.raises(UserError, match="high must be a finite number above 1"):
        lyapopt.steer(Quadratic(), low=1.0, high=0.1)
    with pytest.raises(UserError, match="steps must be a positive integer"):
        lyapopt.steer(Quadratic(), steps=0)

    def broken(params: Any) -> Any:
        raise ValueError("no network here")

    with pytest.raises(SteeringFailedError, match="no network here"):
        lyapopt.steer(broken)
    assert lyapopt.steer(tanh_network, {"width": 6}, steps=400).status == "crossed"


def test_the_recipe_of_the_readme_sets_the_rate_and_leaves_the_rest() -> None:
    objects = network()
    before = {name: tensor.clone() for name, tensor in objects["model"].state_dict().items()}
    names: dict[str, Any] = {**objects, "lyapopt": lyapopt}
    exec(recipe_with("lyapopt.find_lr"), names)
    [group] = objects["optimizer"].param_groups
    assert group["lr"] == names["found"].rate != 0.01
    assert objects["optimizer"].state == {}
    for name, tensor in objects["model"].state_dict().items():
        assert torch.equal(tensor, before[name]), name
