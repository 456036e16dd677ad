"""The working directory of a run, which a user's code may leave."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def same_folder() -> Iterator[None]:
    """Come back to the working directory, wherever a user's code has gone meanwhile."""
    before = Path.cwd()
    try:
        yield
    finally:
        if before.is_dir():
            os.chdir(before)
