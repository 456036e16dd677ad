"""Shapes of the mathematics are checked; each test has a database of its own."""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
import torch
from shape_checks import check_shapes_in
from sqlalchemy import exc

# Tests that want the pages of optuna-dashboard written say so.
os.environ.setdefault("LYAPOPT_DASHBOARD", "0")

# Before any test imports lyapopt.
check_shapes_in("lyapopt.dynamics", "lyapopt.exponents")


@pytest.fixture(autouse=True)
def _modules_that_a_test_has_written_are_its_own() -> Iterator[None]:
    """Another test that writes one of the same name must not be given this one."""
    yield
    for name, module in list(sys.modules.items()):
        if "/pytest-of-" in str(getattr(module, "__dict__", {}).get("__file__")):
            del sys.modules[name]


@pytest.fixture(autouse=True)
def _global_generators_begin_alike() -> None:
    """Networks that a test makes without a seed must not pass on one day and fail on another."""
    torch.manual_seed(0)
    np.random.seed(0)
    random.seed(0)


SERVERS = {
    "postgresql": ("LYAPOPT_TEST_POSTGRESQL", "postgresql+psycopg://postgres@127.0.0.1:5432/test"),
    "mariadb": ("LYAPOPT_TEST_MARIADB", "mysql+pymysql://root@127.0.0.1:3306/test"),
}
_unreachable: dict[str, str] = {}


def _server(backend: str) -> sqlalchemy.URL:
    variable, default = SERVERS[backend]
    url = sqlalchemy.make_url(os.environ.get(variable, default))
    if backend not in _unreachable:
        engine = sqlalchemy.create_engine(url)
        try:
            engine.connect().close()
            _unreachable[backend] = ""
        except (exc.DBAPIError, ImportError) as error:
            _unreachable[backend] = str(error).splitlines()[0]
        engine.dispose()
    if _unreachable[backend]:
        how = (
            f"no {backend} server answers ({_unreachable[backend]}). Start one, set {variable} to "
            "the URL of a database whose user may create others, and install the drivers with "
            "pip install 'lyapopt[postgresql,mysql]'"
        )
        if backend in os.environ.get("LYAPOPT_REQUIRED_SERVERS", ""):
            pytest.fail(how)
        pytest.skip(how)
    return url


@contextmanager
def _place_on(backend: str) -> Iterator[str]:
    """URL of an empty place for tables on a server; it is gone afterwards."""
    server = _server(backend)
    name = f"lyapopt_{uuid.uuid4().hex[:12]}"
    # PostgreSQL takes its time to create a database; a schema is as good a place for tables.
    is_schema = backend == "postgresql"
    place = "SCHEMA" if is_schema else "DATABASE"
    engine = sqlalchemy.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE {place} {name}")
    url = (
        server.update_query_dict({"options": f"-csearch_path={name}"})
        if is_schema
        else server.set(database=name)
    )
    try:
        yield url.render_as_string(hide_password=False)
    finally:
        _drop(engine, f"DROP {place} IF EXISTS {name}{' CASCADE' if is_schema else ''}")
        engine.dispose()


def _drop(engine: sqlalchemy.Engine, statement: str, attempts: int = 5) -> None:
    """Drop a place; servers refuse at times while others drop theirs, or connections close."""
    for left in reversed(range(attempts)):
        try:
            with engine.connect() as connection:
                connection.exec_driver_sql(statement)
        except exc.DBAPIError:
            if not left:
                raise
            time.sleep(0.5)
        else:
            return


@pytest.fixture(params=["sqlite", *SERVERS])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of an empty database that is gone after the test."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/study.db"
        return
    with _place_on(request.param) as url:
        yield url


@pytest.fixture
def postgresql_url() -> Iterator[str]:
    """URL of an empty place on PostgreSQL."""
    with _place_on("postgresql") as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """URL of an empty SQLite database, for what only concerns files."""
    return f"sqlite:///{tmp_path}/study.db"


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder that costs no disk access, where the system has one: many small commits are slow."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="lyapopt-", dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
def run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in this process, in a folder of its own: exit code, stdout and stderr."""
    from lyapopt.cli.main import main

    monkeypatch.chdir(tmp_path)
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", root.handlers[:])

    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lyapopt", *arguments])
        code = main()
        out, err = capsys.readouterr()
        return code, out, err

    return call
