"""Databases without Optuna's tables, and of other applications: what may be created in them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import worker_study as shared
from typer.testing import CliRunner

import lyapopt
from lyapopt.cli.main import app
from lyapopt.errors import UserError
from lyapopt.store import RecordNotFoundError, StoreSchemaError, TrajectoryStore
from lyapopt.study.admin.deletion import sole_runner
from lyapopt.study.admin.doctor import examine
from lyapopt.study.admin.export import export
from lyapopt.study.admin.maintenance import collect_garbage, init_storage, upgrade_storage
from lyapopt.study.file import load_study_file
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.storage import open_storage

FOREIGN = "another application"
CHANGE_NOTHING: dict[str, Callable[[str, Path], object]] = {
    "doctor": lambda url, folder: examine(url, deep=True),
    "upgrade": lambda url, folder: upgrade_storage(url),
    "gc": lambda url, folder: collect_garbage(url),
    "gc --dry-run": lambda url, folder: collect_garbage(url, dry_run=True),
    "gc with a store": lambda url, folder: collect_garbage(url, url),
    "export": lambda url, folder: export(url, folder / "copy.db"),
    "export of a study": lambda url, folder: export(url, folder / "copy.db", "study"),
    "export -f csv": lambda url, folder: export(url, folder / "tables", format="csv"),
    "load": lambda url, folder: lyapopt.load(url),
    "dashboard": lambda url, folder: open_storage(url, create=False),
    "is it being run?": lambda url, folder: sole_runner(url, "study").__enter__(),
    "reader of a store": lambda url, folder: TrajectoryStore(url, create=False),
}


def _contents(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All tables with their rows."""
    engine = sqlalchemy.create_engine(url)
    metadata = sqlalchemy.MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        found = {
            name: [tuple(row) for row in connection.execute(sqlalchemy.select(table))]
            for name, table in metadata.tables.items()
        }
    engine.dispose()
    return found


def _execute(url: str, *statements: str) -> None:
    engine = sqlalchemy.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _users(url: str) -> None:
    _execute(url, "CREATE TABLE users (id INTEGER)", "INSERT INTO users VALUES (1)")


def _with_alembic(url: str) -> None:
    _execute(
        url,
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)",
        "INSERT INTO alembic_version VALUES ('0a1b2c3d4e5f')",
    )


def _with_studies(url: str) -> None:
    _execute(url, "CREATE TABLE studies (patient INTEGER)", "INSERT INTO studies VALUES (7)")


@pytest.mark.parametrize("what", CHANGE_NOTHING)
@pytest.mark.parametrize("fill", [_users, _with_alembic, _with_studies])
def test_what_promises_to_change_nothing_creates_no_table_in_any_database(
    database_url: str, tmp_path: Path, fill: Callable[[str], None], what: str
) -> None:
    fill(database_url)
    before = _contents(database_url)
    files = sorted(tmp_path.iterdir())
    with contextlib.suppress(UserError):  # and nothing else may be raised
        CHANGE_NOTHING[what](database_url, tmp_path)
    assert _contents(database_url) == before
    left = {path for path in tmp_path.iterdir() if path.suffix != ".lock"}
    assert sorted(left) == files


@pytest.mark.parametrize("fill", [_with_alembic, _with_studies])
def test_the_database_of_another_application_is_refused_before_anything_is_created(
    database_url: str, tmp_path: Path, fill: Callable[[str], None]
) -> None:
    fill(database_url)
    before = _contents(database_url)
    with pytest.raises(StoreSchemaError, match=FOREIGN):
        init_storage(database_url)
    with pytest.raises(UserError, match=FOREIGN):
        run_study(load_study_file(shared.write(tmp_path, database_url)))
    assert _contents(database_url) == before


def test_a_second_row_in_the_version_table_is_another_applications(sqlite_url: str) -> None:
    init_storage(sqlite_url)
    _execute(sqlite_url, "INSERT INTO alembic_version VALUES ('0a1b2c3d4e5f')")
    with pytest.raises(StoreSchemaError, match=FOREIGN):
        open_storage(sqlite_url)
    [finding] = [each for each in examine(sqlite_url) if each.level == "wrong"]
    assert FOREIGN in finding.what


def test_upgrade_creates_neither_our_tables_nor_optunas(sqlite_url: str) -> None:
    optuna.create_study(storage=sqlite_url)
    before = _contents(sqlite_url)
    old, new = upgrade_storage(sqlite_url)
    assert (old.lyapopt, new.lyapopt) == (None, None)
    assert old.optuna == new.optuna is not None
    assert _contents(sqlite_url) == before


def test_upgrade_of_a_store_in_a_database_of_its_own_leaves_optuna_out(sqlite_url: str) -> None:
    TrajectoryStore(sqlite_url).create_tables()
    before = _contents(sqlite_url)
    old, new = upgrade_storage(sqlite_url)
    assert (old.optuna, new.optuna) == (None, None)
    assert (old.lyapopt, new.lyapopt) == ("1", "1")
    assert _contents(sqlite_url) == before


def test_upgrade_of_a_file_that_is_not_there_does_not_make_one(tmp_path: Path) -> None:
    with pytest.raises(RecordNotFoundError, match="no such file"):
        upgrade_storage(f"sqlite:///{tmp_path}/new/study.db")
    assert list(tmp_path.iterdir()) == []


def test_tables_of_optuna_that_are_not_whole_are_finished_by_init_alone(sqlite_url: str) -> None:
    init_storage(sqlite_url)
    _execute(sqlite_url, "DELETE FROM alembic_version")
    with pytest.raises(StoreSchemaError, match="storage init"):
        open_storage(sqlite_url, create=False)
    with pytest.raises(StoreSchemaError, match="storage init"):
        upgrade_storage(sqlite_url)
    assert init_storage(sqlite_url)
    open_storage(sqlite_url, create=False)


def test_the_doctor_leaves_no_file_beside_the_database(sqlite_url: str, tmp_path: Path) -> None:
    init_storage(sqlite_url)
    optuna.create_study(storage=sqlite_url, study_name="study")
    files = sorted(tmp_path.iterdir())
    examine(sqlite_url, deep=True)
    assert sorted(tmp_path.iterdir()) == files


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["storage", "doctor"], 0),
        (["storage", "upgrade"], 2),
        (["storage", "gc"], 2),
        (["status"], 2),
        (["dashboard", "--read-only"], 2),
    ],
)
def test_on_the_command_line_a_database_of_others_stays_as_it_is(
    tmp_path: Path, arguments: list[str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna_dashboard")
    path = tmp_path / "users.db"
    _users(f"sqlite:///{path}")
    before = path.read_bytes()
    result = CliRunner().invoke(app, [*arguments, str(path)], standalone_mode=False)
    if code:
        assert isinstance(result.exception, UserError)
        assert "holds no" in str(result.exception)
    else:
        assert result.exit_code == 0, result.output
    assert path.read_bytes() == before
