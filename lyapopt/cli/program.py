"""How the user calls this program, for commands that are printed to be pasted."""

from __future__ import annotations

import os
import shutil
import sys


def program() -> str:
    """`lyapopt`, or the path that it was called by where the shell would not find it."""
    called = sys.argv[0]
    if os.path.basename(called) != "lyapopt":
        return "lyapopt"
    found = shutil.which("lyapopt")
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(called)
    return "lyapopt" if is_found or not os.path.exists(called) else called
