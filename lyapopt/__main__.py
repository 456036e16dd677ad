"""`python -m lyapopt`: the command line."""

import sys

from lyapopt.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
