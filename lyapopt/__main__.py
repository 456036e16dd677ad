"""The command line, `lyapopt` or `python -m lyapopt`: signals are heard before much is imported."""

import sys

from lyapopt import garbage
from lyapopt.interruption import watch_command


def main() -> int:
    """The console entry: runs the command line, and returns its exit code."""
    watch_command()
    with garbage.kept():
        from lyapopt.cli.main import main as run  # here: it takes 0.3 s
    try:
        return run()
    finally:
        garbage.all_kept()


if __name__ == "__main__":
    sys.exit(main())
