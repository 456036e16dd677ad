"""What the command line's exit codes mean."""

from __future__ import annotations

from typing import Final

DONE: Final = 0
FAILED: Final = 1
INVALID: Final = 2
"""Invalid input: a study file, an option, a storage that cannot be used."""
NO_COMPLETED_TRIAL: Final = 3
INTERRUPTED: Final = 130
"""128 + SIGINT. The study is intact, and `run` goes on with it."""
