"""What a running study tells whoever shows it, and what a run came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from optuna.trial import FrozenTrial

from lyapopt.study.run.ledger import Ledger

WAITING = "nothing left to begin: waiting for trials that other workers run"
"""The note of a worker that has nothing to lease."""


@dataclass(frozen=True)
class StudyEvent:
    """Where a study is.

    Attributes:
        study_name: Its name.
        total: Trials that it is to have, if that is limited.
        ledger: Its trials.
    """

    study_name: str
    total: int | None
    ledger: Ledger


class RunningTrial(Protocol):
    """A trial while it trains; what it says is as of now, and may be read from any thread."""

    @property
    def number(self) -> int:
        """Its logical number."""

    @property
    def params(self) -> Mapping[str, Any]:
        """Its parameters."""

    @property
    def steps(self) -> int:
        """Optimiser steps done."""

    @property
    def loss(self) -> float | None:
        """The latest training loss."""

    @property
    def exponent(self) -> float | None:
        """The measured exponent, once there is one."""

    @property
    def verdict(self) -> str | None:
        """The verdict, once there is one."""

    @property
    def is_running(self) -> bool:
        """Whether it has not ended yet."""


class StudyListener:
    """Told what happens while a study runs; the methods do nothing unless overridden."""

    def started(self, event: StudyEvent) -> None:
        """The study is open, and nothing is running yet."""

    def note(self, text: str) -> None:
        """Something that the user should know."""

    def group_started(self, numbers: list[int]) -> None:
        """A group of trials begins to train."""

    def training(self, trials: Sequence[RunningTrial]) -> None:
        """The trials of the group, which this process trains and which can be looked at."""

    def finished(self, trial: FrozenTrial, reason: str | None) -> None:
        """A trial has ended."""

    def stopped(self, event: StudyEvent, reason: str) -> None:
        """The study has stopped."""


@dataclass(frozen=True)
class RunResult:
    """What a run came to.

    Attributes:
        ledger: All trials of the study at the end.
        new: How many trials this run finished.
        reason: Why it stopped.
        interrupted: Whether it was interrupted.
        promoted: What training the best trials in full came to, where the file says `promote`.
    """

    ledger: Ledger
    new: int
    reason: str
    interrupted: bool = False
    promoted: RunResult | None = None
