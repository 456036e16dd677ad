"""What the exit codes mean, and how exceptions become messages and exit codes.

What a user can mend is shown without a traceback.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from typing import Any, Final

from lyapopt import interruption
from lyapopt.cli.text import fitted
from lyapopt.display import one_line, printable, readable
from lyapopt.errors import StudyStoppedError, UserError
from lyapopt.redaction import redacted

DONE: Final = 0
FAILED: Final = 1
INVALID: Final = 2
"""Invalid input: a study file, an option, a storage that cannot be used."""
NO_COMPLETED_TRIAL: Final = 3
INTERRUPTED: Final = 130
"""128 + SIGINT; 143 after SIGTERM. The study is intact, and `run` goes on with it."""

_DEBUG_VARIABLE = "LYAPOPT_DEBUG"
_WHOLE = "lyapopt --debug ..."


def run_reporting_failures(command: Callable[..., Any]) -> int:
    """Run a typer application, and turn whatever it raises into an exit code.

    Args:
        command: Called with `standalone_mode=False`; returns an exit code, or `None` for 0.
    """
    try:
        code = command(standalone_mode=False, prog_name="lyapopt")
        sys.stdout.flush()
        return interruption.exit_code() or int(code or DONE)  # typer makes 130 of an interruption
    except BrokenPipeError:
        return _reader_has_gone()
    except KeyboardInterrupt:
        return _interrupted()
    except Exception as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # as typer wraps it
            return _interrupted()
        code = _report(error)
        return interruption.exit_code() or code  # a signal was the end of it all the same


def _interrupted() -> int:
    code = interruption.exit_code()
    if code is None:  # otherwise that was said when the signal came
        print("interrupted", file=sys.stderr)
    return code or INTERRUPTED


def _reader_has_gone() -> int:
    """Whoever read our output (`head`) has seen enough; Python must not complain of it at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FAILED


def _report(error: Exception) -> int:
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):  # an error of usage, which typer words itself
        if hasattr(error, "message"):
            # Typer puts pydantic's kind of error before what is wrong.
            error.message = readable(str(error.message).replace("Value error, ", ""))
        show()
        return code
    if wants_traceback():
        trace = redacted("".join(traceback.format_exception(error)))
        print(printable(trace, keep="\n\t"), end="", file=sys.stderr)
    if isinstance(error, UserError):
        _say(readable(str(error), _WHOLE))
        return INVALID
    if type(error).__name__ == "Abort":  # the user said no
        print("nothing was changed", file=sys.stderr)
        return FAILED
    if isinstance(error, StudyStoppedError):
        _say(readable(str(error), _WHOLE))
        return FAILED
    _say(one_line(_in_one_line(error), whole=_WHOLE))
    if not wants_traceback():
        print("(the traceback: lyapopt --debug ...)", file=sys.stderr)
    return FAILED


def _say(text: str) -> None:
    print(fitted(f"error: {text}", sys.stderr), file=sys.stderr)


def wants_traceback() -> bool:
    """Whether `--debug` was given before the command, or LYAPOPT_DEBUG is set."""
    return "--debug" in sys.argv[1:] or bool(os.environ.get(_DEBUG_VARIABLE))


def _in_one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    cause = error.__cause__
    if cause is not None and str(cause) not in text:
        text = f"{text} ({' '.join(str(cause).split())})"
    name = type(error).__name__
    return f"{name}: {text}" if text else name
