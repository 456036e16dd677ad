"""Which process runs a trial, and whether it still lives.

On the machine that a process ran on, its death is seen at once: the operating system knows its
number and when it began, which together never come again. From elsewhere only its silence tells.
"""

from __future__ import annotations

import os
import socket
import uuid
from functools import cache
from pathlib import Path

import psutil

_active: set[str] = set()  # the workers of this process that are running


def new_worker_id() -> str:
    """Identifier of a worker: machine, process, when that began, and a random part.

    Example:
        >>> worker = new_worker_id()
        >>> is_here(worker), lives_here(worker)
        (True, False)
        >>> enter(worker)
        >>> lives_here(worker)
        True
        >>> leave(worker)
    """
    pid = os.getpid()
    return "|".join([machine(), str(pid), _began(pid) or "", uuid.uuid4().hex[:8]])


def enter(worker: str) -> None:
    """A worker of this process begins."""
    _active.add(worker)


def leave(worker: str) -> None:
    """A worker of this process has ended."""
    _active.discard(worker)


def is_here(worker: str) -> bool:
    """Whether this process can tell if that worker lives: it is of the same machine."""
    host, _, _, _ = _parts(worker)
    return host == machine()


def lives_here(worker: str) -> bool:
    """Whether a worker of this machine is running. Only where `is_here`."""
    _, pid, began, _ = _parts(worker)
    if pid == os.getpid():
        return worker in _active
    try:
        return _began(pid) == began
    except psutil.AccessDenied:  # it is another user's
        return True


def short_name(worker: str) -> str:
    """A worker in a few words, for messages.

    Example:
        >>> short_name("box/1a2b|4711|99|c0ffee00")
        'process 4711 on box'
    """
    host, pid, _, _ = _parts(worker)
    return f"process {pid} on {host.partition('/')[0]}"


@cache
def machine() -> str:
    """This machine since it was started, as far as process numbers reach.

    Containers of one machine number their processes anew, each in its own namespace. Neither the
    identifier of a start nor that namespace is known to `psutil`; both are Linux's own.
    """
    parts = [socket.gethostname()]
    for source in (_boot_id, _pid_namespace):
        try:
            parts.append(source())
        except OSError:
            continue
    return "/".join(parts)


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:13]


def _pid_namespace() -> str:
    return os.readlink("/proc/self/ns/pid").strip("pid:[]")


def _began(pid: int) -> str | None:
    """When a process began, in hundredths of a second since the machine did; `None` if it is dead.

    Not in seconds since 1970: whenever the clock is set, those change for processes that run.
    """
    try:
        process = psutil.Process(pid)
        if process.status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            return None
        boot = psutil.boot_time()
        return str(round(100 * (process.create_time() - boot)))
    except psutil.NoSuchProcess:
        return None


def _parts(worker: str) -> tuple[str, int, str, str]:
    host, pid, began, random = worker.split("|")
    return host, int(pid), began, random
