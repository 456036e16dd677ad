"""A PostgreSQL server of our own, which may be stopped, crashed and started again."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Mode = Literal["fast", "immediate"]
_ORDINARY = ("postgres", "nobody")  # who runs the server where the tests run as root


def programs() -> Path | None:
    """The folder of `initdb` and `pg_ctl`, where Debian or the search path has them."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    found = [str(path) for path in reversed(debian)] + [shutil.which("initdb") or ""]
    for path in filter(None, found):
        if (Path(path).parent / "pg_ctl").exists():
            return Path(path).parent
    return None


@dataclass
class Server:
    """A server on a port of its own, with its data in a temporary folder."""

    folder: Path
    port: int
    programs: Path
    user: str | None

    @property
    def url(self) -> str:
        return f"postgresql+psycopg://postgres@127.0.0.1:{self.port}/postgres"

    def create(self) -> None:
        self._run("initdb", "--no-sync", "--auth=trust", "--username=postgres")

    def start(self) -> None:
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 "
            f"-c unix_socket_directories={self.folder} -c fsync=off"
        )
        self._run("pg_ctl", "start", "--wait", f"--log={self.folder}/log", f"--options={options}")

    def stop(self, mode: Mode = "fast") -> None:
        """`fast` ends connections and says goodbye, `immediate` is a crash."""
        self._run("pg_ctl", "stop", "--wait", f"--mode={mode}")

    def _run(self, program: str, *arguments: str) -> None:
        subprocess.run(
            [str(self.programs / program), f"--pgdata={self.folder}/data", *arguments],
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # not a pipe: the server would keep it open
            user=self.user,
            cwd=self.folder,
        )


@contextmanager
def running(programs: Path) -> Iterator[Server]:
    """A server that is gone afterwards, with all its data."""
    user = _ordinary_user() if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="lyapopt-pg-") as folder:
        if user is not None:
            shutil.chown(folder, user)
        server = Server(Path(folder), _free_port(), programs, user)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop("immediate")


def _ordinary_user() -> str:
    """PostgreSQL refuses to be run by root."""
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(name for name in _ORDINARY if name in known)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
