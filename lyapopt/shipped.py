"""Files that come with the package: studies and dashboards that run as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

__all__ = ["shipped"]

_PACKAGE = Path(__file__).parent


def shipped(folder: Literal["studies", "dashboards"]) -> Path:
    """The folder of shipped files: inside an installed package, beside the package in a clone.

    Args:
        folder: Which one.

    Example:
        >>> (shipped("studies") / "digits.yaml").exists()
        True
    """
    installed = _PACKAGE / folder
    return installed if installed.is_dir() else _PACKAGE.parent / folder
