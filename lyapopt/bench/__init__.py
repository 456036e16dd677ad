"""Rivals, placebos and the protocol that measures them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

__all__ = ["Numbers", "Progress", "silent"]

Numbers = NDArray[np.float64]

Progress = Callable[[str], None]
"""Called with what is being done."""


def silent(what: str) -> None:
    """Progress that is not shown."""
