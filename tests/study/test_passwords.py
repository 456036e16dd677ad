"""A password in a URL is never in an error, a log or a table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import sqlalchemy
import worker_study as shared

import lyapopt
from lyapopt.cli.main import main
from lyapopt.errors import UserError
from lyapopt.store import TrajectoryStore
from lyapopt.study.admin.deletion import sole_runner
from lyapopt.study.admin.doctor import examine
from lyapopt.study.admin.export import export
from lyapopt.study.admin.maintenance import collect_garbage, init_storage, upgrade_storage
from lyapopt.study.file import StudyFile, load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.spill import Spill
from lyapopt.study.run.storage import open_storage
from lyapopt.study.run.worker_table import WorkerSettings
from lyapopt.study.run.workers import run_workers

SECRET = "s3cr3t-w0rd"
NOBODY = f"postgresql+psycopg://me:{SECRET}@127.0.0.1:1/none"
MYSQL = f"mysql+pymysql://me:{SECRET}@127.0.0.1:1/none"
REFUSED = f"mysql+pymysql://nobody_here:{SECRET}@127.0.0.1:3306/test"
IMPATIENT = WorkerSettings(retry_seconds=0.2)

DOORS: dict[str, Callable[[str, Path], object]] = {
    "open_storage": lambda url, folder: open_storage(url),
    "store": lambda url, folder: TrajectoryStore(url),
    "init": lambda url, folder: init_storage(url),
    "upgrade": lambda url, folder: upgrade_storage(url),
    "gc": lambda url, folder: collect_garbage(url),
    "export": lambda url, folder: export(url, folder / "x.db"),
    "doctor": lambda url, folder: examine(url),
    "load": lambda url, folder: lyapopt.load(url, "study"),
    "fresh": lambda url, folder: sole_runner(url, "study").__enter__(),
    "run": lambda url, folder: run_study(_file(url, folder), settings=IMPATIENT),
    "workers": lambda url, folder: run_workers(_file(url, folder), 2, settings=IMPATIENT),
}


def _file(url: str, folder: Path) -> StudyFile:
    return load_study_file(shared.write(folder, url))


@pytest.mark.parametrize("url", [NOBODY, MYSQL, REFUSED], ids=["postgresql", "mysql", "refused"])
@pytest.mark.parametrize("door", DOORS)
def test_no_error_and_no_log_shows_a_password(
    door: str, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: object
) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError) as raised:
        DOORS[door](url, tmp_path)
    assert SECRET not in str(raised.value)
    assert "***" in str(raised.value)
    assert SECRET not in caplog.text
    captured = capfd.readouterr()  # type: ignore[attr-defined]
    assert SECRET not in captured.out + captured.err


MISTYPED = {
    "braces": f"postgresql+psycopg://me:a{{{SECRET}}}b@127.0.0.1:1/db",
    "one brace": f"postgresql+psycopg://me:a{{{SECRET}@127.0.0.1:1/db",
    "per cent": f"postgresql+psycopg://me:100%s%({SECRET})s%@127.0.0.1:1/db",
    "at and slash": f"postgresql+psycopg://me:p@{SECRET}/word@127.0.0.1:1/db",
    "at and port": f"mysql+pymysql://me:p@{SECRET}:3306/word@127.0.0.1:1/db",
    "at and question": f"postgresql+psycopg://me:p@ss?{SECRET}=1@127.0.0.1:1/db",
    "no database": f"postgresql://me:p@{SECRET}/@127.0.0.1:1",
    "encoded": f"postgresql+psycopg://me:p%40{SECRET}%2Fx@127.0.0.1:1/none",
    "port": f"postgresql+psycopg://me:{SECRET}@host:notaport/db",
    "one slash": f"postgresql+psycopg:/me:{SECRET}@host/db",
    "no colon": f"postgresql//me:{SECRET}@host/db",
    "at": f"postgresql+psycopg://me:s3c@{SECRET}@127.0.0.1:1/db",
    "slash": f"postgresql+psycopg://me:pa/{SECRET}@127.0.0.1:1/db",
    "hash": f"postgresql+psycopg://me:pa#{SECRET}@127.0.0.1:1/db",
    "question": f"postgresql+psycopg://me:pa?{SECRET}@127.0.0.1:1/db",
    "bracket": f"mysql+pymysql://me:{SECRET}@[::1/db",
    "oracle": f"oracle://me:{SECRET}@127.0.0.1/db",
    "redis": f"redis://:{SECRET}@127.0.0.1/0",
    "driver": f"postgresql+pg8000://me:{SECRET}@127.0.0.1/db",
    "grpc": f"grpc://me:{SECRET}@127.0.0.1:notaport",
    "query": f"postgresql+psycopg://127.0.0.1:1/db?user=me&password={SECRET}",
    "journal": f"journal://me:{SECRET}@h/x",
    "option": f"mysql+pymysql://me:{SECRET}@127.0.0.1:3306/test?nosuchoption=1",
}


@pytest.mark.parametrize("url", MISTYPED.values(), ids=MISTYPED)
def test_the_command_line_shows_no_password_of_a_mistyped_url_even_in_a_traceback(
    url: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "sound").mkdir()
    sound = shared.write(tmp_path / "sound", f"sqlite:///{tmp_path}/study.db")
    file = shared.write(tmp_path, url)
    shown = ""
    for command in (
        ["status", url],
        ["storage", "init", url],
        ["storage", "doctor", url],
        ["validate", str(file)],
        ["validate", str(sound), "--set", f"storage={url}"],
    ):
        monkeypatch.setattr("sys.argv", ["lyapopt", "--debug", *command])
        assert main() in (0, 2)  # to validate a URL is not to open it
        shown = "".join(capfd.readouterr()) + caplog.text
        assert SECRET not in shown, command


@pytest.mark.parametrize("name", ["at", "at and slash", "at and port", "at and question"])
def test_a_password_with_an_at_is_refused_before_a_host_is_asked(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*args: object, **kwargs: object) -> None:
        raise AssertionError("a host was asked")

    monkeypatch.setattr("socket.getaddrinfo", never)
    monkeypatch.setattr("sqlalchemy.engine.default.DefaultDialect.connect", never)
    with pytest.raises(UserError, match="write %40 for @"):
        load_study_file(shared.write(tmp_path, MISTYPED[name]))
    for door in ("open_storage", "store", "init", "upgrade", "gc", "doctor", "load"):
        with pytest.raises(UserError, match="write %40 for @"):
            DOORS[door](MISTYPED[name], tmp_path)


def test_no_table_holds_a_password(postgresql_url: str, tmp_path: Path) -> None:
    url = sqlalchemy.make_url(postgresql_url).set(password=SECRET)  # which the server ignores
    text = url.render_as_string(hide_password=False)
    path = shared.write(tmp_path, text, n_trials=2)
    notes: list[str] = []

    class Notes(StudyListener):
        def note(self, text: str) -> None:
            notes.append(text)

    run_study(load_study_file(path), Notes(), settings=shared.QUICK)
    engine = sqlalchemy.create_engine(postgresql_url)
    with engine.connect() as connection:
        for table in sqlalchemy.inspect(engine).get_table_names():
            rows = connection.exec_driver_sql(f'SELECT * FROM "{table}"').all()
            assert SECRET not in repr(rows), table
    engine.dispose()
    assert SECRET not in repr(notes)
    record = TrajectoryStore(text).read(
        optuna.load_study(study_name="shared", storage=text).trials[0].user_attrs["lyapopt:run"]
    )
    file = Spill("shared", text, [tmp_path]).write(record)
    assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in file.name
