"""What replays charge, and that they repeat."""

from __future__ import annotations

import math

import numpy as np
import optuna
import pytest
from optuna.samplers import RandomSampler
from small_case import made_table

from lyapopt.bench.search.frozen import SCREENED, STEERED
from lyapopt.bench.search.methods import METHODS, OURS, steering_sampler
from lyapopt.bench.search.replay import Replay, Watch, report_steps, run_ranked, run_trials
from lyapopt.bench.search.table_probe import AnotherNet, LogRate, Shuffled, TableProbe
from lyapopt.bench.tables.measures import exponents
from lyapopt.bench.tables.table import Table
from lyapopt.probe.verdicts import relative_fall
from lyapopt.search.pruners import LyapunovPruner
from lyapopt.search.steering import STEERING

optuna.logging.set_verbosity(optuna.logging.WARNING)


@pytest.fixture(scope="module")
def table() -> Table:
    return made_table()


def evaluation(table: Table) -> float:
    return table.facts.evaluation_cost


def test_a_full_training_costs_its_steps_and_one_evaluation(table: Table) -> None:
    replay = Replay(table, 1.0005, 0)
    run_trials(replay, RandomSampler())
    assert replay.spent == pytest.approx(table.facts.steps + evaluation(table))


def test_ranking_costs_what_it_begins_and_what_it_finishes(table: Table) -> None:
    replay = Replay(table, 2.0, 0)
    run_ranked(replay, RandomSampler(), 20, keep=1)
    each, rest = 20 + evaluation(table), 400 - 20 + evaluation(table)
    begun = round((replay.spent - rest) / each)
    assert replay.spent == pytest.approx(begun * each + rest)
    assert replay.spent <= replay.limit < replay.spent + each


def test_ranking_by_training_losses_needs_no_evaluation(table: Table) -> None:
    replay = Replay(table, 2.0, 0)
    run_ranked(replay, RandomSampler(), 20, by="training")
    rest = 400 - 20 + evaluation(table)
    assert (replay.spent - rest) % 20 == pytest.approx(0)


def test_pruned_trials_cost_the_steps_they_made(table: Table) -> None:
    replay = Replay(table, 1.0005, 0)

    class Always(optuna.pruners.BasePruner):
        def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
            return True

    run_trials(replay, RandomSampler(), Always())
    first = report_steps(table)[0] + evaluation(table)
    # The last one reaches the end of the budget before it is evaluated.
    begun = math.ceil(replay.limit / first)
    assert replay.spent == pytest.approx(begun * first - evaluation(table))
    assert not replay.found


def test_steering_charges_every_probe_and_the_winner_s_steps_once(table: Table) -> None:
    replay = Replay(table, 1.0, 0)
    sampler = steering_sampler(replay, STEERED, RandomSampler())
    study = replay.study(sampler)
    trial, cell = replay.ask(study)
    record = study.trials[trial.number].user_attrs[STEERING]
    assert replay.spent == record["gradient_evaluations"]
    assert len(record["probes"]) * 2 * STEERED.horizon == replay.spent
    assert cell % 21 == table.case.cell_of({**table.case.cells[cell], "lr": record["value"]}) % 21
    again = Replay(table, 1.0005, 0)
    run_trials(
        again, steering_sampler(again, STEERED, RandomSampler()), probe_steps=STEERED.horizon
    )
    assert again.spent == replay.spent + 400 - STEERED.horizon


def test_a_watched_trial_pays_for_its_neighbours(table: Table) -> None:
    plain, watched = Replay(table, 2.0, 0), Replay(table, 2.0, 0)
    pruner = optuna.pruners.NopPruner()
    run_trials(plain, RandomSampler(), pruner)
    run_trials(watched, RandomSampler(), pruner, Watch(20, 2))
    first = plain.found[0][0]
    assert watched.found[0][0] == pytest.approx(first + 2 * 20)


@pytest.mark.parametrize("neighbours", [0, 1])
def test_neighbours_are_paid_for_where_the_loss_has_fallen_alone(
    table: Table, neighbours: int
) -> None:
    watch = Watch(10, neighbours, slow=0.01)
    replay = Replay(table, 2.0, 0)
    study = replay.study(RandomSampler(), LyapunovPruner())
    falls = []
    for _ in range(8):
        trial, cell = replay.ask(study)
        before = replay.spent
        watch.show(trial, replay, cell)
        falls.append(relative_fall(table.losses[cell, :10]))
        assert replay.spent - before == (10 * neighbours if falls[-1] >= 0.01 else 0)
        shown = study.trials[-1].user_attrs
        if shown["verdict"] != "diverged":
            assert shown["loss_fall"] == pytest.approx(falls[-1], rel=1e-4)
            assert ("exponent" in shown) == (neighbours > 0 and falls[-1] >= 0.01)
    assert min(falls) < 0.01 < max(falls)


def test_what_is_pruned_is_not_ranked(table: Table) -> None:
    replay = Replay(table, 3.0, 1)
    METHODS["random + fell + ranking"].run(replay)
    assert replay.found
    assert replay.spent <= replay.limit + 1


def test_rates_are_snapped_to_the_nearest_of_the_grid(table: Table) -> None:
    cells, rates = table.case.cells, table.case.rates
    for cell in (0, 50, 314):
        for factor in (0.88, 1.0, 1.13):
            rate = min(max(cells[cell]["lr"] * factor, rates[0]), rates[-1])
            assert table.case.cell_of({**cells[cell], "lr": rate}) == cell


def test_the_same_seed_is_the_same_stream_of_candidates(table: Table) -> None:
    def activations(name: str) -> list[str]:
        replay = Replay(table, 1.0, 7)
        sampler = (
            steering_sampler(replay, STEERED, RandomSampler())
            if name == "ours"
            else RandomSampler()
        )
        study = replay.study(sampler)
        found = [replay.ask(study)[0].params for _ in range(6)]
        return [(p["activation"], p["init_seed"]) for p in found]

    assert activations("ours") == activations("random")


@pytest.mark.parametrize("name", ["TPE + Hyperband", OURS, "screening (forecast)"])
def test_a_replay_repeats(table: Table, name: str) -> None:
    runs = []
    for _ in range(2):
        replay = Replay(table, 4.0, 3)
        METHODS[name].run(replay)
        runs.append((replay.spent, replay.found))
    assert runs[0] == runs[1]


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_stays_near_its_budget(table: Table, name: str) -> None:
    for budget in (1.5, 4.0):
        replay = Replay(table, budget, 1)
        METHODS[name].run(replay)
        probes = 20 * SCREENED.horizon * SCREENED.candidates if "screening" in name else 200
        assert replay.spent <= replay.limit + table.facts.steps + probes
        if not METHODS[name].is_anytime:
            assert replay.spent <= replay.limit
        counted = [spent for spent, _ in replay.found if spent <= replay.limit]
        assert counted or name.startswith(("screening", "TPE", "random"))


def test_what_is_found_after_the_budget_does_not_count(table: Table) -> None:
    replay = Replay(table, 2.0, 0)
    replay.found = [(500.0, 0.5), (900.0, 0.1)]
    assert replay.best_at(2.0) == 0.5
    assert replay.best_at(1.0) == table.untrained
    assert replay.best_at(3.0) == 0.1


def test_placebos_tell_nothing_of_the_network_in_question(table: Table) -> None:
    own = exponents(table, "weights", 1, 10)
    cells = range(len(own))
    shuffled = np.array([Shuffled(10, 1)(table, cell, 0).exponent for cell in cells])
    assert sorted(shuffled) == sorted(own)
    assert abs(np.corrcoef(shuffled, own)[0, 1]) < 0.2
    other = [AnotherNet(10, 1)(table, cell, 0).exponent for cell in cells]
    lines = np.array(other).reshape(15, 21)
    assert sorted(map(tuple, lines)) == sorted(map(tuple, own.reshape(15, 21)))
    rates = np.array([LogRate(10, 1)(table, cell, 0).exponent for cell in cells]).reshape(15, 21)
    assert (np.diff(rates, axis=1) > 0).all()
    assert (rates == rates[0]).all()


def test_a_placebo_costs_what_the_probe_costs(table: Table) -> None:
    honest, placebo = Replay(table, 1.0, 0), Replay(table, 1.0, 0)
    params = {**table.case.cells[30], "init_seed": 0}
    for replay, substitute in ((honest, None), (placebo, Shuffled(10, 1))):
        TableProbe(horizon=10, neighbours=1, replay=replay, placebo=substitute).probe_params(
            [params]
        )
    assert honest.spent == placebo.spent == 20
