"""Names in a storage that say where else to look: of promoted trials' study, of the file's copy."""

from __future__ import annotations

from typing import Final

__all__ = ["DEFINITION", "PROMOTED_SUFFIX"]

DEFINITION: Final = "lyapopt:file"
"""System attribute of a study: what its file said when it was last run."""

PROMOTED_SUFFIX: Final = "-promoted"
"""What the name of a study of promoted trials has behind that of the search."""
