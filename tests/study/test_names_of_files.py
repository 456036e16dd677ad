"""A database may be called anything that a file may be called."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import worker_study as shared

import lyapopt
from lyapopt.cli.main import main
from lyapopt.store import StoreError, TrajectoryStore
from lyapopt.store.engine import parse_url
from lyapopt.store.urls import as_text, sqlite_url
from lyapopt.study.admin.doctor import examine
from lyapopt.study.admin.export import export
from lyapopt.study.file import absolute_url, load_study_file
from lyapopt.study.run.runner import run_study

NAMES = ["a?b.db", "a{b}c.db", "{SCHEMA_VERSION}.db", "100%.db", "%(here)s.db", "a%20b#c d.db"]


@pytest.mark.parametrize("name", NAMES)
def test_a_study_in_a_file_of_any_name_runs_and_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    database = tmp_path / name
    path = shared.write(tmp_path, sqlite_url(database), n_trials=2)
    run_study(load_study_file(path), settings=shared.QUICK)
    assert database.is_file()
    assert len(lyapopt.load(database, "shared").trials) == 2
    assert not [finding for finding in examine(sqlite_url(database)) if finding.level == "wrong"]
    export(sqlite_url(database), tmp_path / f"copy of {name}")
    monkeypatch.chdir(tmp_path)
    for argument in (name, f"copy of {name}", sqlite_url(name), sqlite_url(database)):
        monkeypatch.setattr("sys.argv", ["lyapopt", "status", argument])
        assert main() == 0
        assert "1 complete" in capsys.readouterr().out  # the other one diverges
    created = {file.name for file in tmp_path.iterdir() if file.suffix == ".db"}
    assert created == {name, f"copy of {name}"}


@pytest.mark.parametrize("name", ["a?b", "a{b}c", "100%", "%20"])
def test_a_relative_url_means_the_same_file_in_a_folder_of_any_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    url = absolute_url("sqlite:///x.db?timeout=5")
    assert parse_url(url).database == str(tmp_path / name / "x.db")
    assert parse_url(url).query == {"timeout": "5"}
    assert absolute_url("journal:///x.log") == f"journal:///{tmp_path / name / 'x.log'}"


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert parse_url("sqlite:///~/x.db").database == str(tmp_path / "x.db")
    assert absolute_url("sqlite:///~/x.db") == f"sqlite:///{tmp_path}/x.db"
    assert absolute_url("journal:///~/x.log") == f"journal:///{tmp_path}/x.log"
    with TrajectoryStore("sqlite:///~/x.db") as store:
        store.create_tables()
    assert (tmp_path / "x.db").is_file()
    assert not os.path.exists("~")


def test_a_question_mark_that_begins_no_options_is_refused() -> None:
    with pytest.raises(StoreError, match="write %3F for"):
        TrajectoryStore("sqlite:///a?b.db")
    assert parse_url("sqlite:///a%3Fb.db?timeout=5").database == "a?b.db"


def test_a_url_as_text_has_no_braces_and_means_the_same() -> None:
    url = parse_url("postgresql+psycopg://m{e}:a{b}%25/c@host/d{e}")
    assert not set("{}") & set(as_text(url))
    assert parse_url(as_text(url)) == url
    assert (url.username, url.password, url.database) == ("m{e}", "a{b}%/c", "d{e}")


@pytest.mark.parametrize(
    ("scheme", "installed", "driver"),
    [
        ("mysql", {"pymysql"}, "mysql+pymysql"),
        ("mariadb", {"pymysql"}, "mariadb+pymysql"),
        ("mysql", {"pymysql", "MySQLdb"}, "mysql"),
        ("mysql", set(), "mysql"),
        ("mysql+mysqldb", {"pymysql"}, "mysql+mysqldb"),
        ("postgresql", {"psycopg"}, "postgresql+psycopg"),
        ("postgresql", {"psycopg", "psycopg2"}, "postgresql"),
    ],
)
def test_a_url_without_a_driver_gets_one_that_is_installed(
    scheme: str, installed: set[str], driver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lyapopt.store.urls._is_installed", installed.__contains__)
    assert parse_url(f"{scheme}://me@host/studies").drivername == driver
