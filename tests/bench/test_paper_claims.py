"""Claims hold where they were put in, and the trained numbers are those of the probe."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lyapopt.bench.paper.claims import CLAIMS, claim_map, correlation, in_gate, shares
from lyapopt.bench.paper.report import PaperReport
from lyapopt.bench.paper.settings import (
    ACTIVATIONS,
    NEAREST,
    Settings,
    at_setting,
    swept,
    trained,
    trained_nearest,
)
from lyapopt.probe import Probe
from lyapopt.tasks.builder import TaskBuilder

SMALL = Settings(
    inits=("normal-weights",),
    outputs=("sigmoid",),
    widths=(8,),
    rates=(0.01,),
    horizons=(10,),
    steps=(30,),
    sweep=(0.01, 1000.0),
    seeds=6,
    sweep_seeds=4,
    neighbours=4,
)


@pytest.fixture(scope="module")
def networks() -> pd.DataFrame:
    return trained(SMALL)


def test_a_trained_network_is_that_of_the_task(networks: pd.DataFrame) -> None:
    row = networks[(networks["activation"] == "relu") & (networks["seed"] == 3)].iloc[0]
    params = {"init": "normal-weights", "output": "sigmoid", "hidden": 8, "init_seed": 3}
    training = TaskBuilder("xor", {"steps": 30})({**params, "activation": "relu", "lr": 0.01})
    model, (x, y) = training.model, training.data
    assert row["initial_loss"] == pytest.approx(float(training.loss_fn(model(x), y)), rel=1e-9)
    for _ in range(30):
        training.optimizer.zero_grad()
        training.loss_fn(model(x), y).backward()
        training.optimizer.step()
    assert row["loss"] == pytest.approx(float(training.loss_fn(model(x), y)), rel=1e-9)


def test_exponents_are_of_the_size_that_the_probe_measures(networks: pd.DataFrame) -> None:
    params = {"init": "normal-weights", "output": "sigmoid", "hidden": 8, "lr": 0.01}
    build = TaskBuilder("xor", {"steps": 30})
    made = [build({**params, "activation": "sigmoid", "init_seed": seed}) for seed in range(6)]
    lone = [m.exponent for m in Probe(horizon=10, neighbours=64).measure(made)]
    found = networks[networks["activation"] == "sigmoid"]["exponent"]
    assert np.corrcoef(lone, found)[0, 1] > 0.5
    assert abs(found.mean()) < 1e-3


def made_networks(order: tuple[str, ...], seeds: int = 40) -> pd.DataFrame:
    """Exponents and losses in an order, correlated over seeds."""
    rng = np.random.default_rng(0)
    rows = []
    for place, activation in enumerate(order):
        for seed in range(seeds):
            shift = rng.normal(0, 0.2)
            exponent, loss = -0.001 * (place + shift), 0.5 - 0.05 * (place + shift)
            rows.append(
                {
                    **NEAREST,
                    "activation": activation,
                    "seed": seed,
                    "loss": loss,
                    "exponent": exponent,
                    "initial_loss": rng.uniform(0.4, 0.6),
                }
            )
    return pd.DataFrame(rows)


def made_sweep(top: float) -> pd.DataFrame:
    rows = [
        {
            **NEAREST,
            "lr": rate,
            "activation": activation,
            "seed": seed,
            "exponent": (-0.001 if rate < 1 else top) + 1e-5 * seed,
            "is_dead": rate > 1,
        }
        for rate in (0.01, 10.0)
        for activation in ACTIVATIONS
        for seed in range(16)
    ]
    return pd.DataFrame(rows)


def test_every_claim_holds_where_it_was_put_in() -> None:
    claims = claim_map(made_networks(ACTIVATIONS), made_sweep(0.1))
    assert set(claims["claim"]) == set(CLAIMS)
    assert set(claims["verdict"]) == {"holds"}


def test_every_claim_fails_where_its_contrary_was_put_in() -> None:
    networks = made_networks(tuple(reversed(ACTIVATIONS)))
    sweep = made_sweep(-0.1).assign(is_dead=False)
    claims = claim_map(networks, sweep).set_index("claim")
    for name in ("table 1, exponents", "table 1, losses", "table 1", "fig. 4, dead"):
        assert claims.loc[name, "verdict"] == "fails"
    assert set(claims.loc["fig. 4, chaos", "verdict"]) == {"fails"}


def test_noise_leaves_a_claim_open() -> None:
    networks = made_networks(ACTIVATIONS, seeds=24)
    rng = np.random.default_rng(5)
    networks[["exponent", "loss"]] = rng.normal(0, 1, (len(networks), 2))
    claims = claim_map(networks, made_sweep(0.1))
    assert "holds" not in set(claims[claims["claim"].str.startswith("table")]["verdict"])


def test_the_gate_keeps_half_of_the_networks() -> None:
    frame = made_networks(ACTIVATIONS, seeds=40)
    assert in_gate(frame).mean() == pytest.approx(0.5, abs=0.02)


def test_a_correlation_without_variation_has_no_number() -> None:
    assert all(math.isnan(x) for x in correlation(np.ones(9), np.arange(9.0)))
    r, low, high = correlation(np.arange(9.0), np.arange(9.0) ** 2)
    assert low < r < high <= 1


def test_a_huge_rate_can_kill_relu_networks_and_the_report_shows_it(
    networks: pd.DataFrame,
) -> None:
    sweep = swept(SMALL)
    dead = sweep[sweep["is_dead"]]
    assert (dead["lr"] == 1000.0).all()
    assert (dead["activation"] == "relu").any()
    nearest = trained_nearest(replace(SMALL, nearest_seeds=4))
    report = PaperReport(networks, sweep, claim_map(networks, sweep), nearest)
    assert len(at_setting(networks, NEAREST)) == 0  # 30 steps are not its 300
    assert len(at_setting(nearest, NEAREST)) == len(nearest) == 4 * len(ACTIVATIONS)
    assert report.table_1["networks"].tolist() == [4] * len(ACTIVATIONS)
    assert set(shares(report.claims)["claim"]) == set(CLAIMS)
