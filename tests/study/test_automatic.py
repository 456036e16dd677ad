"""What a file leaves open is chosen from task, space and budget, once and for all."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lyapopt.bench.search.frozen import PATIENCE, PRUNED, RANKED_BELOW, WARM_UP
from lyapopt.bench.search.frozen import RANKED as FROZEN
from lyapopt.bench.search.methods import pair_end
from lyapopt.cli.dry_run import in_words
from lyapopt.search import LyapunovPruner
from lyapopt.space import FloatParameter, IntParameter
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.file.automatic import MOST, PART, SHARE, Choices, choose, is_open
from lyapopt.study.run.choices import CHOSEN, DIGEST, with_choices
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.schedule import Schedule
from lyapopt.yaml_text import flow

RANKED = {"rank_at", "promote", "n_trials"}
SPACE = {"lr": FloatParameter(low=1e-3, high=10.0, log=True)}


def study(**keys: Any) -> StudyFile:
    given = {
        "storage": "sqlite:///never.db",
        "study_name": "s",
        "task": {"name": "xor", "steps": 400},
        "search_space": SPACE,
        "budget": {"gradient_evaluations": 2000},
    }
    return StudyFile(**{name: v for name, v in {**given, **keys}.items() if v is not None})


def chosen(steps: int | None = 400, **keys: Any) -> dict[str, Any]:
    return dict(choose(study(**keys), steps).values)


def test_what_is_chosen_is_what_the_benchmark_runs() -> None:
    assert (FROZEN.part, FROZEN.share, RANKED_BELOW) == (PART, SHARE, MOST)
    groups = Schedule(chosen(budget={"gradient_evaluations": 8000})["trials_at_once"], True)
    assert all(pair_end(groups.group_of(n)[0]) == groups.group_of(n)[1] for n in range(300))
    probe = {"horizon": PRUNED.horizon, "neighbours": PRUNED.neighbours}
    for keys in ({}, {"sampler": "random"}, {"pruner": "lyapunov"}, {"budget": None}):
        found = choose(study(**keys), 400)
        assert found.values["probe"] == probe
        assert f"chosen: probe: {flow(probe)}" in in_words(found)
        assert found.values.get("pruner") in (
            None,
            "nop",
            {
                "name": "lyapunov",
                "patience": PATIENCE,
                "wrapped": {"name": "median", "n_warmup_steps": WARM_UP},
            },
        )
    limits = inspect.signature(LyapunovPruner).parameters
    assert (limits["slow"].default, limits["hot"].default) == (PRUNED.slow, PRUNED.hot)


def test_a_file_that_names_sampler_and_pruner_leaves_nothing_open() -> None:
    assert is_open(study())
    assert is_open(study(sampler="auto", pruner="none"))
    assert not is_open(study(sampler="tpe", pruner="none"))
    assert with_choices(study(sampler="tpe", pruner="none"))[1] is None


def test_only_keys_that_are_missing_are_filled_in() -> None:
    probe = {"horizon": 30, "neighbours": 2}
    assert set(chosen()) == {*RANKED, "sampler", "pruner", "probe"}
    assert set(chosen(probe=probe)) == {*RANKED, "sampler", "pruner"}
    assert set(chosen(sampler="tpe", probe=probe)) == {"pruner"}
    assert set(chosen(pruner="median", probe=probe)) == {*RANKED, "sampler"}
    assert set(chosen(rank_at=100, probe=probe)) == {"sampler", "pruner"}
    file = study(pruner="median", rank_at=100, promote=3)
    filled = choose(file, 400).applied_to(file)
    assert (filled.pruner, filled.rank_at, filled.promote) == (file.pruner, 100, 3)


def test_trials_are_ranked_only_where_a_ranking_can_be_had() -> None:
    for keys in (
        {"steps": None},  # nobody knows how long a training is
        {"steps": 72},  # an eighth would end before the probe does
        {"n_trials": 100},  # which would leave nothing to train the best in full
        {"n_trials": 3},
        {"budget": {"gradient_evaluations": 6000}},  # of fifteen trainings
        {"budget": {"gradient_evaluations": 400}},
        {"budget": None, "n_trials": 24},  # those trials, all of them trained
        {"budget": None, "timeout": 600.0},  # never from the time
        {"value": "exponent"},
        {"task": None, "objective": {"call": "a:b"}, "budget": None, "n_trials": 9},
    ):
        assert not RANKED & set(chosen(**keys)), keys
    assert chosen(n_trials=8)["promote"] == 3
    assert "n_trials" not in chosen(n_trials=8)
    assert chosen(timeout=600.0) == chosen()


def test_rates_are_steered_where_there_is_one_that_spans_decades_and_trials_are_ranked() -> None:
    assert chosen()["sampler"]["name"] == "edge-of-chaos"
    assert chosen()["pruner"] == "nop"
    linear = {"lr": FloatParameter(low=0.1, high=1.0)}
    assert chosen(search_space=linear)["sampler"] == "random"
    assert chosen(search_space=linear)["pruner"] == "lyapunov"


TPE = {"name": "tpe", "constant_liar": True}


@pytest.mark.parametrize(
    "keys", [{"budget": {"gradient_evaluations": 6000}}, {"budget": None, "n_trials": 5}]
)
def test_longer_studies_go_to_tpe_and_the_median_waits_for_the_report_after_the_probe(
    keys: dict[str, Any],
) -> None:
    found = chosen(**keys)
    assert found["sampler"] == TPE
    assert found["pruner"]["wrapped"] == {"name": "median", "n_warmup_steps": 11}
    assert found.get("trials_at_once") == (2 if keys["budget"] else None)
    later = chosen(**keys, probe={"horizon": 30, "neighbours": 2})
    assert later["pruner"]["wrapped"]["n_warmup_steps"] == 31


def test_trials_train_in_pairs_where_a_budget_is_small_and_nothing_else_is_said() -> None:
    assert chosen(budget={"gradient_evaluations": 8000})["trials_at_once"] == 2
    others: list[dict[str, Any]] = [
        {"budget": {"gradient_evaluations": 20000}},
        {"steps": None},
        {"trials_at_once": 10},
        {"sampler": "tpe"},
        {"budget": None, "n_trials": 30},
    ]
    for other in others:
        keys: dict[str, Any] = {"budget": {"gradient_evaluations": 8000}, **other}
        assert "trials_at_once" not in chosen(**keys), other
    assert "trials_at_once" not in chosen()  # candidates of a ranking learn nothing


def test_networks_that_differ_in_continuous_parameters_are_steered_once() -> None:
    others = {"momentum": FloatParameter(low=0.0, high=0.9), "hidden": IntParameter(low=2, high=9)}
    budget = {"gradient_evaluations": 800}
    shares, differs = ({**SPACE, name: entry} for name, entry in others.items())
    assert "promote" in chosen(search_space=shares, budget=budget)
    assert "promote" not in chosen(search_space=differs, budget=budget)


def test_rates_that_begin_at_nothing_are_judged_by_no_probe() -> None:
    warm = chosen(task={"name": "digits", "steps": 400, "warmup_steps": 50})
    assert warm == {"sampler": TPE, "pruner": "median", "trials_at_once": 2}


def test_several_values_are_not_pruned() -> None:
    several = chosen(value="both", directions=["minimize", "minimize"])
    assert several["pruner"] == "nop"
    assert not RANKED & set(several)


@given(
    st.integers(80, 5000),
    st.floats(0.5, 200),
    st.one_of(st.none(), st.integers(1, 300)),
)
def test_a_ranking_fits_its_budget(steps: int, trainings: float, count: int | None) -> None:
    budget = {"gradient_evaluations": round(trainings * steps)}
    values = chosen(steps=steps, budget=budget, n_trials=count)
    if "rank_at" not in values:
        return
    trials = values.get("n_trials", count)
    assert trials == count or count is None
    assert 1 <= values["promote"] <= trials
    spent = trials * (values["rank_at"] + 10) + values["promote"] * steps
    assert spent <= budget["gradient_evaluations"]


FILE = """
storage: sqlite:///{folder}/s.db
task: {{name: xor, hidden: 4, steps: 80}}
search_space: {{lr: {{type: float, low: 0.01, high: 3.0, log: true}}}}
budget: {{gradient_evaluations: 400}}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "s.yaml"
    path.write_text(FILE.format(folder=tmp_path))
    return path


def test_what_was_chosen_holds_for_the_whole_life_of_a_study(path: Path) -> None:
    first = load_study_file(path)
    _, chosen = with_choices(first)
    assert chosen is not None
    assert chosen.values["rank_at"] == 10
    result = run_study(first)
    assert result.promoted is not None
    more = load_study_file(path, ["n_trials=100", "budget=null", "timeout=60"])
    filled, again = with_choices(more)
    assert again is not None
    # What the file says itself by now is not said to have been chosen.
    assert "n_trials" not in again.values
    assert {**again.values, "n_trials": chosen.values["n_trials"]} == chosen.values
    assert (filled.n_trials, filled.promote) == (100, chosen.values["promote"])
    assert with_choices(more, anew=True)[1] != again  # a new study would have others
    assert with_choices(filled) == (filled, None)


def test_a_ranking_goes_on_as_far_as_a_budget_that_was_raised(path: Path) -> None:
    first = run_study(load_study_file(path))
    assert first.promoted is not None
    before = optuna.load_study(study_name="s", storage=load_study_file(path).storage).trials
    assert run_study(load_study_file(path)).reason == f"all {len(before)} trials are done"
    less = load_study_file(path, ["budget.gradient_evaluations=300"])
    raised = load_study_file(path, ["budget.gradient_evaluations=700"])
    assert with_choices(less)[0].n_trials == len(before)
    found, said = with_choices(raised)
    assert said is not None
    assert "the budget pays for more" in "".join(said.reasons)
    assert found.rank_at == 10
    assert found.n_trials is not None
    assert found.n_trials > 1.5 * len(before)
    second = run_study(raised)
    after = optuna.load_study(study_name="s", storage=raised.storage).trials
    assert len(after) == found.n_trials
    assert [t.params for t in after[: len(before)]] == [t.params for t in before]
    assert second.promoted is not None
    promoted = optuna.load_study(study_name="s-promoted", storage=raised.storage).trials
    assert first.promoted.ledger.states["complete"] < len(promoted) <= found.promote
    spent = sum(t.user_attrs["gradient_evaluations"] for t in [*after, *promoted])
    assert 700 - 100 < spent <= 700  # what is left pays for no other training of 80 steps


def test_a_study_that_began_before_anything_was_chosen_goes_on_as_it_was(path: Path) -> None:
    file = load_study_file(path)
    study = optuna.create_study(study_name=file.study_name, storage=file.storage)
    study.set_user_attr(DIGEST, "0123456789abcdef")
    filled, found = with_choices(file)
    assert found == Choices({"sampler": "tpe", "pruner": "median"})
    assert (filled.rank_at, filled.promote) == (None, 0)
    assert CHOSEN not in study._storage.get_study_system_attrs(study._study_id)


def test_candidates_of_a_ranking_are_evaluated_once_unless_a_pruner_asks_for_more(
    path: Path,
) -> None:
    run_study(load_study_file(path))
    pruned = load_study_file(
        path, ["study_name=pruned", "pruner=median", "sampler=random", "rank_at=60", "n_trials=4"]
    )
    run_study(pruned)

    def reports(name: str) -> set[int]:
        trials = optuna.load_study(study_name=name, storage=pruned.storage).trials
        return {len(trial.intermediate_values) for trial in trials if trial.value is not None}

    assert reports("s") == {1}
    assert min(reports("s-promoted")) > 1
    assert max(reports("pruned")) > 1


BUILD = """
import os
import torch
from torch import nn
from lyapopt import Training

def build(params):
    os.makedirs("deeper", exist_ok=True)
    os.chdir("deeper")
    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=params["lr"])
    return Training(model, nn.MSELoss(), optimizer, (torch.eye(2), torch.ones(2, 1)), steps=80)
"""


def test_a_network_of_ones_own_says_how_long_a_training_is(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    Path("deep.py").write_text(BUILD)
    path.write_text(
        path.read_text().replace("{name: xor, hidden: 4, steps: 80}", "{build: deep:build}")
    )
    file = load_study_file(path)
    filled, _ = with_choices(file)
    assert (filled.rank_at, Path.cwd()) == (10, path.parent)
    assert run_study(file).promoted is not None
    assert Path.cwd() == path.parent
