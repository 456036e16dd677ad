"""Python's search for cyclic garbage, kept off what lives as long as the process."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["all_kept", "kept"]


@contextmanager
def kept() -> Iterator[None]:
    """Keep what is made inside, which is to be modules, from being searched for garbage.

    Modules are hundreds of thousands of objects that live to the end. The collector would go
    through them again and again while they are imported, and all through the program: half as much
    time as importing torch and Optuna takes without it.

    Example:
        >>> with kept():
        ...     import json
        >>> gc.isenabled()
        True
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        if was_enabled:
            gc.enable()


def all_kept() -> None:
    """Let the process end without a last search: the system takes its memory as a whole."""
    gc.freeze()
