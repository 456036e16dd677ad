"""Trials of plain Optuna studies leave their dynamics in the study's own database."""

from __future__ import annotations

import gc
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pymysql
import pytest
import sqlalchemy
import torch
from networks import Quadratic, tanh_network
from optuna.distributions import FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.pruners import MedianPruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import RandomSampler
from optuna.trial import FixedTrial, TrialState
from torch import Tensor, nn

import lyapopt
from lyapopt import EdgeOfChaosSampler, LyapunovPruner, Objective, Probe, TrajectoryStore
from lyapopt.search import RecordSettings
from lyapopt.search.recording import destination
from lyapopt.search.recording.destination import Recording
from lyapopt.study.admin.doctor import examine

SPACE = {"lr": FloatDistribution(1e-3, 0.1, log=True)}
PROBE = Probe(horizon=6)
HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _nothing_was_said_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(destination, "_said", set())


def new_study(url: str | None, **options: Any) -> optuna.Study:
    options = {"sampler": RandomSampler(0), "pruner": NopPruner(), **options}
    return optuna.create_study(storage=url, study_name="study", **options)


def close(study: optuna.Study) -> None:
    study._storage.remove_session()
    study._storage._backend.engine.dispose()  # type: ignore[attr-defined]


def batches(count: int) -> Iterator[tuple[Tensor, Tensor]]:
    source = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.randn(8, 3, generator=source)
        yield x, x.sum(1, keepdim=True).sin()


def own_loop(trial: Any, lr: float = 0.1, steps: int = 15, **options: Any) -> float:
    """The three lines of the README, in a loop as people write them."""
    model = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    for parameter in model.parameters():
        nn.init.uniform_(parameter, -0.5, 0.5, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    loss_fn = nn.MSELoss()
    monitor = lyapopt.watch(trial, model, optimizer, loss_fn, **{"horizon": 6, **options})
    loss = torch.zeros(())
    for x, y in batches(steps):
        monitor.observe(x, y)
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        if monitor.should_stop():
            raise optuna.TrialPruned
    return loss.item()


# An objective


def test_an_objective_records_into_the_database_of_its_study(database_url: str) -> None:
    study = new_study(database_url, pruner=LyapunovPruner(wrapped=MedianPruner()))
    objective = Objective(tanh_network, SPACE, probe=PROBE, neighbours="all")
    study.optimize(objective, n_trials=4, n_jobs=4)
    close(study)
    with TrajectoryStore(database_url, create=False) as store:
        runs = store.runs("study")
        assert sorted(runs["trial_number"]) == list(range(4))
        assert [state.upper() for state in runs["state"]] == runs["trial_state"].tolist()
        assert len(store.exponents("study")) == 4
        assert store.array("weights", "study", 3).shape[0] == runs["steps"][3]
        assert store.array("separation", "study", 3).shape == (7, 1)
    trials = lyapopt.load(database_url).trials
    assert trials["gradient_evaluations"].tolist() == pytest.approx(
        runs["gradient_evaluations"].tolist(), rel=1e-5
    )
    assert not [each for each in examine(database_url, deep=True) if each.level == "wrong"]


def optimize_here(url: str) -> None:
    study = optuna.load_study(storage=url, study_name="study", pruner=NopPruner())
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=3)


@pytest.mark.slow
@pytest.mark.ci
def test_several_processes_record_into_one_database(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    close(new_study(database_url))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(HERE), *sys.path]))
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        for done in [pool.submit(optimize_here, database_url) for _ in range(2)]:
            done.result()
    with TrajectoryStore(database_url, create=False) as store:
        assert len(store.runs("study")) == len(store.exponents("study")) == 6


def test_recording_is_turned_off_by_argument_and_by_environment(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(sqlite_url)
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE, record=False), n_trials=1)
    study.optimize(lambda trial: own_loop(trial, record=False), n_trials=1)
    monkeypatch.setenv("LYAPOPT_RECORD", "0")
    study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=1)
    study.optimize(own_loop, n_trials=1)
    engine = sqlalchemy.create_engine(sqlite_url)
    assert not [t for t in sqlalchemy.inspect(engine).get_table_names() if "lyapopt" in t]
    assert len(lyapopt.load(sqlite_url).trials) == 4
    assert all("exponent" in trial.user_attrs for trial in study.trials)
    assert not any("lyapopt:run" in trial.user_attrs for trial in study.trials)


def test_a_watched_trial_says_how_it_was_measured_where_it_trains_in_another_precision() -> None:
    study, loss_fn = new_study(None), nn.MSELoss()
    for dtype in (torch.float32, torch.float64):
        model = nn.Linear(3, 1, dtype=dtype)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        with lyapopt.watch(study.ask(), model, sgd, loss_fn, horizon=2, record=False) as monitor:
            for x, y in batches(2):
                monitor.observe(x.to(dtype), y.to(dtype))
    measured = [trial.user_attrs.get("measured") for trial in study.trials]
    assert measured == ["neighbours in float64", None]


@pytest.mark.parametrize("kind", ["memory", "sqlite://", "journal"])
def test_a_study_without_a_database_is_said_so_once(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    storage: Any = None if kind == "memory" else kind
    if kind == "journal":
        backend = optuna.storages.journal.JournalFileBackend(str(tmp_path / "a.log"))
        storage = optuna.storages.JournalStorage(backend)
    study = new_study(storage)
    n_jobs = 1 if kind == "sqlite://" else 2  # each thread has a memory of its own
    with caplog.at_level(logging.WARNING, "lyapopt"):
        study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=2, n_jobs=n_jobs)
        study.optimize(own_loop, n_trials=2)
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("lyapopt")]
    assert ("TrajectoryStore" if kind == "journal" else "sqlite:///study.db") in said
    assert [trial.state for trial in study.trials] == [TrialState.COMPLETE] * 4


def test_a_study_without_a_database_may_have_a_store(tmp_path: Path) -> None:
    study = new_study(None)
    with TrajectoryStore(f"sqlite:///{tmp_path}/own.db") as store:
        study.optimize(Objective(tanh_network, SPACE, probe=PROBE, store=store), n_trials=1)
        study.optimize(lambda trial: own_loop(trial, store=store), n_trials=1)
        assert store.runs("study")["trial_number"].tolist() == [0, 1]


def test_without_the_right_to_create_tables_it_says_so_once_and_trains_on(
    postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    close(new_study(postgresql_url))
    url = sqlalchemy.make_url(postgresql_url)
    schema = str(url.query["options"]).partition("=")[2]
    admin = sqlalchemy.create_engine(url, isolation_level="AUTOCOMMIT")
    role = f"{schema}_user"
    with admin.connect() as connection:
        for statement in (
            f"CREATE ROLE {role} LOGIN PASSWORD 'secret word'",
            f"GRANT USAGE ON SCHEMA {schema} TO {role}",
            f"GRANT ALL ON ALL TABLES IN SCHEMA {schema} TO {role}",
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
        ):
            connection.exec_driver_sql(statement)
    try:
        theirs = url.set(username=role, password="secret word")
        study = optuna.load_study(
            storage=theirs.render_as_string(hide_password=False), study_name="study"
        )
        with caplog.at_level(logging.WARNING, "lyapopt"):
            study.optimize(Objective(tanh_network, SPACE, probe=PROBE), n_trials=4, n_jobs=2)
            study.optimize(own_loop, n_trials=1)
        assert all(trial.state == TrialState.COMPLETE for trial in study.trials)
        [said] = [r.getMessage() for r in caplog.records if r.name.startswith("lyapopt")]
        assert "no permission" in said
        assert "secret" not in said
        close(study)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP OWNED BY {role}")
            connection.exec_driver_sql(f"DROP ROLE {role}")
        admin.dispose()


def test_a_database_that_is_read_only_is_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "study.db"
    trial = new_study(f"sqlite:///{path}").ask()
    study = optuna.load_study(storage=f"sqlite:///file:{path}?mode=ro&uri=true", study_name="study")
    theirs = optuna.Trial.__new__(optuna.Trial)
    theirs.__dict__.update(trial.__dict__, study=study)
    objective = Objective(tanh_network, SPACE, probe=PROBE)
    candidate = objective.prepare(trial)
    objective.train([candidate])
    candidate.trial = theirs
    with caplog.at_level(logging.WARNING, "lyapopt"):
        for _ in range(2):
            Recording(RecordSettings()).keep(candidate, lambda: objective.record_of(candidate))
    [said] = [record.getMessage() for record in caplog.records if record.name.startswith("lyapopt")]
    assert "cannot be written" in said


# A trial without a study


def test_the_best_trial_can_be_trained_again_and_leaves_nothing(sqlite_url: str) -> None:
    study = new_study(sqlite_url)
    objective = Objective(tanh_network, SPACE, probe=PROBE)
    study.optimize(objective, n_trials=3)
    best = study.best_trial
    before = dict(best.user_attrs)
    assert objective(best) == pytest.approx(study.best_value, rel=1e-12)
    again = FixedTrial(study.best_params, number=best.number)
    assert objective(again) == pytest.approx(study.best_value, rel=1e-12)
    assert best.user_attrs == before
    assert again.user_attrs == {}
    assert len(TrajectoryStore(sqlite_url).all_runs()) == 3
    with pytest.raises(ValueError, match="'lr' is not found"):
        objective(FixedTrial({}))


def test_a_loop_runs_with_a_trial_without_a_study_and_never_stops() -> None:
    trial = FixedTrial({})
    assert own_loop(trial, lr=1e6, steps=12) != 0.0
    assert trial.user_attrs == {}


# A loop of one's own


def test_the_three_lines_leave_all_that_a_trial_has(database_url: str, tmp_path: Path) -> None:
    study = new_study(database_url)
    study.optimize(own_loop, n_trials=2, n_jobs=2)
    close(study)
    with TrajectoryStore(database_url, create=False) as store:
        runs = store.runs("study")
        # One gradient a batch of the loop, and two copies over six steps.
        assert runs["gradient_evaluations"].tolist() == [15 + 12] * 2
        assert runs["examples"].tolist() == [(15 + 12) * 8] * 2
        assert runs["steps"].tolist() == [15] * 2
        # How a trial ended is Optuna's to know.
        assert runs["state"].tolist() == ["complete"] * 2
        assert runs["value"].tolist() == [trial.value for trial in study.trials]
        exponents = store.exponents("study")["value"]
        separation = store.array("separation", "study", 1)[:, 0]
        assert exponents[1] == pytest.approx((separation[-1] - separation[3]) / 3, abs=1e-6)
        assert store.array("loss", "study", 1).shape == (6,)
        with store._engine.connect() as connection:
            view = "SELECT trial_state, run_state, value FROM lyapopt_trials ORDER BY trial_number"
            rows = [tuple(row) for row in connection.execute(sqlalchemy.text(view))]
        assert rows == [("COMPLETE", "complete", trial.value) for trial in study.trials]
        store.export(tmp_path / "copy.db")
        with TrajectoryStore(f"sqlite:///{tmp_path}/copy.db") as copied:
            assert copied.runs("study")["value"].tolist() == runs["value"].tolist()
            assert copied.runs("study")["state"].tolist() == ["complete"] * 2
        weights = store.series("weights", "study", 1)
        assert weights.values.shape == (6, 41)  # no more than all
    trials = lyapopt.load(database_url).trials
    assert trials["exponent"].tolist() == pytest.approx(exponents.tolist(), rel=1e-5)
    assert trials["gradient_evaluations"].tolist() == [27] * 2
    assert not [each for each in examine(database_url, deep=True) if each.level == "wrong"]


def test_accumulated_batches_are_a_gradient_each_and_a_step_together(sqlite_url: str) -> None:
    study = new_study(sqlite_url)
    study.optimize(lambda trial: own_loop(trial, accumulate=3, horizon=4), n_trials=1)
    [run] = TrajectoryStore(sqlite_url).runs().to_dict("records")
    assert (run["gradient_evaluations"], run["steps"]) == (15 + 2 * 12, 5)


def test_of_many_weights_a_projection_is_kept_unless_asked_otherwise(sqlite_url: str) -> None:
    def objective(trial: optuna.Trial, record: Any) -> float:
        model = nn.Linear(100, 10)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        monitor = lyapopt.watch(trial, model, optimizer, nn.MSELoss(), horizon=2, record=record)
        for _ in range(3):
            monitor.observe(torch.ones(2, 100), torch.zeros(2, 10))
        return 0.0

    study = new_study(sqlite_url)
    for record in (None, RecordSettings(weights="full"), RecordSettings(weights="none")):
        study.optimize(lambda trial, record=record: objective(trial, record), n_trials=1)
    store = TrajectoryStore(sqlite_url)
    assert store.array("weights", "study", 0).shape == (2, 64)
    assert store.array("weights", "study", 1).shape == (2, 1010)
    assert store.series_names("study") == ["loss", "separation", "weights"]
    assert sorted(store.trajectories("study", 2)["name"].unique()) == ["loss", "separation"]


def test_the_probes_of_a_sampler_are_part_of_what_a_watched_trial_costs(sqlite_url: str) -> None:
    sampler = EdgeOfChaosSampler(RandomSampler(0), build=Quadratic(), seed=0)
    study = new_study(sqlite_url, sampler=sampler)
    study.optimize(
        lambda trial: curvature_ten(trial, trial.suggest_float("lr", 1e-4, 10, log=True)),
        n_trials=1,
    )
    [trial] = study.trials
    probes = trial.user_attrs["lyapopt:steering"]["gradient_evaluations"]
    assert probes > 0
    assert trial.user_attrs["gradient_evaluations"] == probes + 2 * 4 + 12
    names = TrajectoryStore(sqlite_url).exponents()["name"].tolist()
    assert names[0] == "neighbours@4"
    assert all(name.startswith("steering lr=") for name in names[1:])
    assert len(names) > 1


def test_a_loop_that_ends_before_the_horizon_is_counted_and_said_to_be_short_once(
    sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    study = new_study(sqlite_url)
    study.optimize(lambda trial: own_loop(trial, steps=4), n_trials=1)
    study.optimize(lambda trial: own_loop(trial, steps=4, record=False), n_trials=1)
    [said] = [each.getMessage() for each in caplog.records if "horizon" in each.getMessage()]
    assert "after 4 steps, before the horizon of 6" in said
    [run] = TrajectoryStore(sqlite_url).runs().to_dict("records")
    assert (run["gradient_evaluations"], run["state"]) == (4 + 2 * 4, "complete")
    assert study.trials[0].user_attrs["gradient_evaluations"] == 12
    assert len(TrajectoryStore(sqlite_url).array("loss", "study", 0)) == 4


@pytest.mark.parametrize("horizon", [6, 20])
def test_a_loop_that_is_broken_off_is_completed_by_the_next_reader(
    horizon: int, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    def objective(trial: optuna.Trial) -> float:
        x, y = next(batches(1))
        model = nn.Linear(3, 1)
        sgd = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = lyapopt.watch(trial, model, sgd, nn.MSELoss(), horizon=horizon)
        for step in range(10):
            monitor.observe(x, y)
            trial.report(float(trial.number > 0), step)
            if step == 8 and trial.should_prune():  # as Optuna has it, past the monitor
                raise optuna.TrialPruned
            if step == 8 and trial.number == 2:
                raise RuntimeError
        return 0.0

    study = new_study(sqlite_url, pruner=MedianPruner(n_startup_trials=1, n_warmup_steps=8))
    study.optimize(objective, n_trials=2)
    study.pruner = NopPruner()
    study.optimize(objective, n_trials=1, catch=RuntimeError)
    runs = TrajectoryStore(sqlite_url).runs("study")
    assert runs["state"].tolist() == ["complete", "pruned", "failed"]
    of_copies = 2 * min(horizon, 9)
    assert runs["gradient_evaluations"].tolist()[1:] == [9 + of_copies] * 2
    shown = lyapopt.load(sqlite_url).trials["gradient_evaluations"]
    assert shown.tolist() == runs["gradient_evaluations"].tolist()
    said = [each.getMessage() for each in caplog.records if "horizon" in each.getMessage()]
    assert len(said) == (horizon > 10)  # of the one that came to its end


def test_several_monitors_of_a_trial_share_its_run(sqlite_url: str) -> None:
    study = new_study(sqlite_url)
    study.optimize(lambda trial: own_loop(trial) + own_loop(trial, lr=0.2), n_trials=1)
    store = TrajectoryStore(sqlite_url)
    [run] = store.all_runs()
    trial = study.trials[0]
    assert trial.user_attrs["lyapopt:run"] == run
    assert trial.user_attrs["gradient_evaluations"] == 2 * 27
    exponent = store.exponents("study")["value"].item()
    assert trial.user_attrs["exponent"] == pytest.approx(exponent, rel=1e-5)


def test_monitors_that_are_garbage_are_completed_when_nobody_writes(sqlite_url: str) -> None:
    study = new_study(sqlite_url)

    def objective(trial: optuna.Trial) -> float:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor: Any = lyapopt.watch(trial, model, optimizer, nn.MSELoss(), horizon=2)
        monitor.itself = monitor  # a cycle, as in the trainers of libraries
        for x, y in batches(5):
            monitor.observe(x, y)
        return 0.0

    gc.disable()
    try:
        study.optimize(objective, n_trials=1)
        with study._storage._backend.engine.connect() as connection:  # type: ignore[attr-defined]
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            gc.collect()  # would wait for this transaction, in this thread, for ever
        study.optimize(own_loop, n_trials=1)
    finally:
        gc.enable()
    runs = TrajectoryStore(sqlite_url).runs()
    assert runs["gradient_evaluations"].tolist() == [4 + 5, 15 + 12]


@pytest.mark.parametrize("is_garbage", [False, True])
def test_the_first_and_only_loop_of_a_process_is_completed(
    sqlite_url: str, is_garbage: bool
) -> None:
    program = f"""
        import sys
        sys.path[:0] = {[str(HERE)]!r}
        import test_recorded_by_default as tests
        watch = tests.lyapopt.watch
        def watch_in_a_cycle(*args, **options):
            monitor = watch(*args, **options)
            if {is_garbage}:
                monitor.itself = monitor
            return monitor
        tests.lyapopt.watch = watch_in_a_cycle
        tests.new_study({sqlite_url!r}).optimize(tests.own_loop, n_trials=1)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], check=True)
    [run] = TrajectoryStore(sqlite_url, create=False).runs().to_dict("records")
    assert run["gradient_evaluations"] == 15 + 12


def test_attributes_are_set_again_when_the_server_broke_off_a_transaction(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = new_study(sqlite_url)
    set_attribute, broken = type(study._storage).set_trial_user_attr, set[str]()

    def breaking(self: Any, trial_id: int, key: str, value: Any) -> None:
        if key not in broken:
            broken.add(key)
            deadlock = pymysql.err.OperationalError(1213, "Deadlock found when trying to get lock")
            raise StorageInternalError from sqlalchemy.exc.OperationalError("", {}, deadlock)
        set_attribute(self, trial_id, key, value)

    monkeypatch.setattr(type(study._storage), "set_trial_user_attr", breaking)
    study.optimize(own_loop, n_trials=1)
    shown = study.trials[0].user_attrs
    assert broken >= {"exponent", "verdict", "gradient_evaluations", "lyapopt:run"}
    assert broken == set(shown)


def test_a_monitor_that_outlives_its_trial_still_completes_its_rows(sqlite_url: str) -> None:
    study, kept = new_study(sqlite_url), []

    def objective(trial: optuna.Trial) -> float:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        monitor = lyapopt.watch(trial, model, optimizer, nn.MSELoss(), horizon=2)
        kept.append(monitor)
        for x, y in batches(5):
            monitor.observe(x, y)
        return 0.0

    study.optimize(objective, n_trials=1)
    store = TrajectoryStore(sqlite_url)
    assert store.runs()["gradient_evaluations"].item() == 4 + 5
    kept[0].observe(*next(batches(1)))
    assert store.runs()["gradient_evaluations"].item() == 4 + 6
    kept.clear()
    gc.collect()
    assert store.runs()["state"].item() == "complete"


def test_a_loop_may_go_on_after_its_trial_was_told(sqlite_url: str) -> None:
    study = new_study(sqlite_url)
    trial = study.ask()
    study.tell(trial, 1.0)
    assert own_loop(trial) > 0.0
    assert study.trials[0].user_attrs == {}


@pytest.mark.slow
@pytest.mark.ci
def test_a_trial_that_is_killed_is_shown_with_what_was_measured(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/study.db"
    program = tmp_path / "killed.py"
    program.write_text(
        textwrap.dedent(
            f"""
            import os, signal, sys
            sys.path[:0] = {[str(HERE)]!r}
            import test_recorded_by_default as tests
            batches = tests.batches

            def cut(count):
                yield from batches(10)
                os.kill(os.getpid(), signal.SIGKILL)

            tests.batches = cut
            tests.new_study({url!r}).optimize(tests.own_loop, n_trials=1)
            """
        )
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run([sys.executable, program], env=environment, check=False)
    assert ended.returncode == -signal.SIGKILL
    shown = subprocess.run(
        [sys.executable, "-m", "lyapopt", "trials", url, "-f", "csv"],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "running" in shown
    assert ",contracting," in shown
    store = TrajectoryStore(url, create=False)
    [run] = store.runs().to_dict("records")
    assert (run["state"], run["steps"]) == ("running", 6)
    assert len(store.exponents()) == 1
    optuna.load_study(storage=url, study_name="study").tell(0, state=TrialState.FAIL)
    assert store.runs()["state"].tolist() == ["failed"]


# Who decides


def curvature_ten(trial: Any, lr: float, report: Callable[[int], float] | None = None) -> float:
    """Gradient descent on 5 w^2: its exponent is ln |1 - 10 lr|."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.ones_(model.weight)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    x = torch.full((1, 1), 5**0.5)
    monitor = lyapopt.watch(trial, model, optimizer, nn.MSELoss(), horizon=4)
    for step in range(12):
        monitor.observe(x, 0 * x)
        if report is not None:
            trial.report(report(step), step)
        if monitor.should_stop():
            raise optuna.TrialPruned
    return 0.0


HOT = 0.24  # exponent ln 1.4 = .336
WARM = 0.22  # exponent ln 1.2 = .182
COLD, TOO_COLD = 2.1e-4, 1.9e-4  # (1 - 10 lr)^4 and ^6 of the loss are left: 1.04, .95 % less


@pytest.mark.parametrize(
    ("pruner", "lr", "state", "reason"),
    [
        (NopPruner(), HOT, "COMPLETE", None),
        (MedianPruner(), HOT, "COMPLETE", None),
        (LyapunovPruner(), HOT, "PRUNED", "hot: exponent 0.336 above 0.1"),
        (LyapunovPruner(hot=0.2), WARM, "PRUNED", "slow: the loss rose by 152.98% of its first"),
        (LyapunovPruner(hot=0.2, slow=None), WARM, "COMPLETE", None),
        (LyapunovPruner(hot=0.1), WARM, "PRUNED", "hot: exponent 0.182 above 0.1"),
        (LyapunovPruner(hot=None, slow=None), HOT, "COMPLETE", None),
        (LyapunovPruner(), COLD, "COMPLETE", None),
        (LyapunovPruner(), TOO_COLD, "PRUNED", "slow: the loss fell by 0.9"),
        (LyapunovPruner(), 1e30, "PRUNED", "diverged"),
        (LyapunovPruner(), 0.0, "PRUNED", "dead"),
        (LyapunovPruner(dead=False), 0.0, "PRUNED", "slow: the loss fell by 0.00%"),
        (LyapunovPruner(dead=False, slow=None), 0.0, "COMPLETE", None),
    ],
)
def test_should_stop_asks_the_rules_of_the_studys_pruner(
    pruner: Any, lr: float, state: str, reason: str | None, sqlite_url: str
) -> None:
    study = new_study(sqlite_url, pruner=pruner)
    study.optimize(lambda trial: curvature_ten(trial, lr), n_trials=1)
    assert study.trials[0].state.name == state
    store = TrajectoryStore(sqlite_url)
    [run] = store.runs().to_dict("records")
    decisions = store.decisions("study")
    if reason is None:
        assert decisions.empty
    else:
        [decision] = decisions.to_dict("records")
        assert decision["pruned"]
        assert decision["reason"].startswith(reason)
        assert run["reason"] == decision["reason"]
        assert decision["step"] == run["steps"]


def test_should_stop_asks_any_pruner_about_what_the_loop_reports(sqlite_url: str) -> None:
    study = new_study(sqlite_url, pruner=LyapunovPruner(wrapped=MedianPruner(n_startup_trials=1)))
    study.optimize(lambda trial: curvature_ten(trial, COLD, lambda step: 1.0), n_trials=2)
    study.optimize(lambda trial: curvature_ten(trial, COLD, lambda step: 2.0), n_trials=1)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "COMPLETE", "PRUNED"]
    assert study.trials[2].last_step == 0  # before the horizon
    [decision] = TrajectoryStore(sqlite_url).decisions("study").to_dict("records")
    assert (decision["trial_number"], decision["rule"]) == (2, "MedianPruner")


class Counting(SuccessiveHalvingPruner):
    asked = 0

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        self.asked += 1
        return super().prune(study, trial)


def test_a_pruner_that_keeps_books_is_asked_once_a_report() -> None:
    pruner = Counting()
    study = new_study(None, pruner=LyapunovPruner(wrapped=pruner))

    def objective(trial: optuna.Trial) -> float:
        model = nn.Linear(3, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        monitor = lyapopt.watch(trial, model, optimizer, nn.MSELoss(), horizon=3)
        for step, (x, y) in enumerate(batches(12)):
            monitor.observe(x, y)
            if step % 4 == 3:
                trial.report(1.0, step)
            monitor.should_stop()
        return 0.0

    study.optimize(objective, n_trials=1)
    assert pruner.asked == 3


def test_with_several_objectives_our_rule_alone_decides() -> None:
    study = optuna.create_study(
        directions=["minimize", "minimize"], pruner=LyapunovPruner(wrapped=MedianPruner())
    )
    study.optimize(lambda trial: (curvature_ten(trial, COLD), 0.0), n_trials=1)
    study.optimize(lambda trial: (curvature_ten(trial, HOT), 0.0), n_trials=1)
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED"]


def test_a_loop_that_goes_on_after_it_was_to_stop_has_no_reason_to_have_ended(
    sqlite_url: str,
) -> None:
    def objective(trial: optuna.Trial) -> float:
        try:
            curvature_ten(trial, HOT)
        except optuna.TrialPruned:
            return curvature_ten(trial, COLD)
        raise AssertionError

    study = new_study(sqlite_url, pruner=LyapunovPruner())
    study.optimize(objective, n_trials=1)
    [run] = TrajectoryStore(sqlite_url).runs().to_dict("records")
    assert run["state"] == "complete"
    assert run["reason"] is None or np.isnan(run["reason"])
