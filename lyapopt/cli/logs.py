"""Logs and warnings go to stderr, through the console that the live table is drawn on."""

from __future__ import annotations

import logging
import warnings
from typing import Final

import optuna
from rich.console import Console
from rich.text import Text

from lyapopt.display import readable

_QUIET: Final = logging.ERROR


class _ConsoleHandler(logging.Handler):
    """Prints above a live table instead of through it."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = readable(self.format(record))
            self._console.print(Text(text), soft_wrap=True)
        except Exception:  # as every handler of logging does: a log line must not end a program
            self.handleError(record)


def configure(level: str, *, quiet: bool = False) -> Console:
    """Send our log to a console on stderr, and of Optuna's only what is serious.

    Optuna tells of every trial, which the progress does better, and of every experimental class.

    Args:
        level: Least severe message of ours that is shown: `debug`, `info`, `warning`, `error`.
        quiet: Whether to show errors only.

    Returns:
        The console.
    """
    console = Console(stderr=True, highlight=False)
    handler = _ConsoleHandler(console)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(_QUIET if quiet else logging.WARNING)
    least = _QUIET if quiet else getattr(logging, level.upper())
    logging.getLogger("lyapopt").setLevel(least)
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(least)
    _quieten_optuna()
    return console


def _quieten_optuna() -> None:
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
