import optuna
import pytest

from lyapopt.store import RecordNotFoundError, StoreError, TrajectoryStore


def test_an_exported_file_holds_what_was_recorded(store, make_run, tmp_path):
    runs = [make_run(trial_number=number) for number in range(3)]
    for run in runs:
        store.record(run)
    path = tmp_path / "shared.db"
    assert store.export(path) == 3
    with TrajectoryStore(f"sqlite:///{path}", create=False) as shared:
        for run in runs:
            assert shared.read(run.run).exponents == run.exponents
            assert shared.array("loss", "study", run.trial_number).tobytes() == (
                run.trajectories[0].values.tobytes()
            )
        assert len(shared.decisions("study")) == 3


def test_trajectories_may_be_left_out(store, make_run, tmp_path):
    store.record(make_run())
    store.export(tmp_path / "small.db", trajectories=False)
    with TrajectoryStore(f"sqlite:///{tmp_path}/small.db") as shared:
        assert len(shared.exponents("study")) == 1
        assert shared.trajectories("study").empty


def test_an_exported_study_has_the_name_that_it_has_now(
    database_url, optuna_storage, tmp_path, finish_trial
):
    study = optuna.create_study(storage=optuna_storage, study_name="old")
    with TrajectoryStore(database_url) as store:
        finish_trial(study, store)
        optuna.copy_study(
            from_study_name="old",
            from_storage=optuna_storage,
            to_storage=optuna_storage,
            to_study_name="new",
        )
        store.export(tmp_path / "new.db", "new")
    with TrajectoryStore(f"sqlite:///{tmp_path}/new.db") as shared:
        assert shared.runs()["study_name"].tolist() == ["new"]


def test_exporting_twice_into_one_file_adds_and_replaces(store, make_run, tmp_path):
    store.record(make_run("a"))
    store.export(tmp_path / "both.db")
    store.record(make_run("b"))
    assert store.export(tmp_path / "both.db") == 2
    with TrajectoryStore(f"sqlite:///{tmp_path}/both.db") as shared:
        assert shared.runs()["study_name"].tolist() == ["a", "b"]
        assert len(shared.exponents()) == 2


def test_a_study_that_does_not_exist_is_not_exported(database_url, optuna_storage, tmp_path):
    with TrajectoryStore(database_url) as store:
        store.create_tables()
        with pytest.raises(RecordNotFoundError):
            store.export(tmp_path / "none.db", "none")
    assert not (tmp_path / "none.db").exists()


def test_a_path_that_cannot_be_written_is_said(store, make_run, tmp_path):
    store.record(make_run())
    with pytest.raises(StoreError, match=r"cannot open sqlite:///.*missing/x\.db"):
        store.export(tmp_path / "missing" / "x.db")
