"""Tables on disk, under a name that says what they were made from."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch

from lyapopt.bench import Progress, silent
from lyapopt.bench.tables.cases import Case
from lyapopt.bench.tables.fingerprint import fingerprint
from lyapopt.bench.tables.recording import record
from lyapopt.bench.tables.table import Table

VERSION = 1
"""Version of what a table holds: one higher whenever something else is recorded."""


def cache_folder() -> Path:
    """Where tables are kept: `LYAPOPT_CACHE`, or the user's folder for caches."""
    own = os.environ.get("LYAPOPT_CACHE")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "lyapopt" / "bench"


def key_of(case: Case) -> str:
    """A digest of everything that a table follows from: the definition of the case, the version of
    torch, its data and schedules, and what the present code makes of the first steps.
    """
    definition = json.dumps(case.definition(), sort_keys=True, default=str)
    if definition not in _FINGERPRINTS:
        _FINGERPRINTS[definition] = fingerprint(case)
    text = f"{VERSION} {definition} {torch.__version__} {_FINGERPRINTS[definition]}"
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


_FINGERPRINTS: dict[str, str] = {}


def table_path(case: Case, folder: Path | None = None) -> Path:
    """Where the table of a case is, or will be."""
    name = case.name.replace("/", "-").replace(":", "-")
    return (folder or cache_folder()) / f"{name}-{key_of(case)}.npz"


def table_of(case: Case, folder: Path | None = None, progress: Progress = silent) -> Table:
    """The table of a case: read if it is there, else recorded and kept.

    Args:
        case: The case.
        folder: Where tables are kept; `cache_folder()` by default.
        progress: Called with what is being done.
    """
    path = table_path(case, folder)
    if path.exists():
        return Table.load(path, case)
    progress(f"{case.name}: training {len(case.cells)} configurations, once and for all")
    table = record(case, progress)
    table.save(path)
    return table
