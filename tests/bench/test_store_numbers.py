"""The numbers of `lyapopt bench store`: that they come out, and (slow) that they hold."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from lyapopt.bench.store.measuring import Size, measure
from lyapopt.cli.main import app
from lyapopt.errors import UserError
from lyapopt.store import RunRecord, TrajectoryStore, new_run_id


@pytest.mark.slow
@pytest.mark.ci
def test_the_numbers_are_measured_and_nothing_but_what_was_there_is_left(
    database_url: str,
) -> None:
    orphan = RunRecord(new_run_id(), "deleted", 0, "complete")
    is_empty = database_url.startswith("sqlite")  # of the others, one that is in use
    if not is_empty:
        with TrajectoryStore(database_url) as store:
            store.record(orphan)
    report = measure(database_url, Size(recorded=3, listed=12, looped=2, rounds=1))
    assert [row.target for row in report.rows[2:]] == [4.0, 1.0, 2.0, 2.0, 2.0]
    assert report.rows[1].target == (10.0 if is_empty else 20.0)
    assert all(row.measured.median >= 0 for row in report.rows)
    assert [row.sense for row in report.rows] == ["at least", *["at most"] * 6]
    assert report.rows[0].target == 8.0
    assert optuna.get_all_study_names(database_url) == []
    with TrajectoryStore(database_url, create=False) as store:
        assert store.gc(dry_run=True, grace=0.0) == (not is_empty)
        if not is_empty:
            assert store.read(orphan.run).study_name == "deleted"


def test_a_study_of_the_same_name_is_not_touched(sqlite_url: str) -> None:
    optuna.create_study(storage=sqlite_url, study_name="lyapopt-bench-store")
    with pytest.raises(UserError, match="has a study 'lyapopt-bench-store' already"):
        measure(sqlite_url, Size(recorded=1, listed=1, looped=1, rounds=1))
    assert optuna.get_all_study_names(sqlite_url) == ["lyapopt-bench-store"]


@pytest.mark.slow
def test_the_command_prints_the_numbers_and_writes_them_as_json(tmp_path: Path) -> None:
    file = tmp_path / "numbers.json"
    arguments = ["bench", "store", "--quick", "--json", str(file)]
    done = CliRunner().invoke(app, arguments, standalone_mode=False)
    assert done.return_value in (0, 1)
    assert "disk space of a float32" in done.output
    written = json.loads(file.read_text())
    assert len(written["rows"]) == 7
    assert {row["group"] for row in written["rows"]} == {"SQLite"}
