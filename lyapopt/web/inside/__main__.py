"""A process that refreshes studies: what it is to do is read as JSON from its standard input.

Not from its arguments, which every user of a machine can read: a URL may hold a password.
"""

from __future__ import annotations

import json
import sys
import warnings

from lyapopt.errors import UserError
from lyapopt.web.inside import refresh_studies


def main() -> int:
    """Refresh the studies; return the exit code."""
    wanted = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    try:
        refresh_studies(wanted["storage"], wanted["studies"], wanted["store"])
    except UserError:
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
