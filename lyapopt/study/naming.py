"""How a study of promoted trials is named: after the search, and each is found from the other."""

from __future__ import annotations

from typing import Final

__all__ = ["PROMOTED_SUFFIX"]

PROMOTED_SUFFIX: Final = "-promoted"
"""What the name of a study of promoted trials has behind that of the search."""
