"""The base of the callbacks: a monitor over one training."""

from __future__ import annotations

import warnings

import optuna
import torch
from optuna.trial import BaseTrial
from torch import nn

from lyapopt.errors import UserError
from lyapopt.probe import VerdictRule
from lyapopt.search.monitor import Monitor
from lyapopt.settings import RecordSettings
from lyapopt.store import TrajectoryStore


class Watching:
    """A monitor over one training, which a library's hooks show batches and steps.

    Args:
        trial: Where exponent, verdict and cost go; `None` keeps them in `monitor` only.
        prune: Whether `optuna.TrialPruned` is raised when the pruner of the trial's study says to
            stop (see `Monitor.should_stop`).
        horizon, neighbours, radius, rule, seed, record, store: As for `lyapopt.watch`.

    Attributes:
        monitor: The monitor, once the training has begun.
    """

    def __init__(
        self,
        trial: BaseTrial | None = None,
        *,
        prune: bool = True,
        horizon: int = 20,
        neighbours: int = 1,
        radius: float = 1e-6,
        rule: VerdictRule | None = None,
        seed: int = 0,
        record: RecordSettings | bool | None = None,
        store: TrajectoryStore | None = None,
    ) -> None:
        super().__init__()
        self.trial = trial
        self.prune = prune
        self.horizon = horizon
        self.neighbours = neighbours
        self.radius = radius
        self.rule = rule
        self.seed = seed
        self.record = record
        self.store = store
        self.monitor: Monitor | None = None

    def _begin(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, clip_grad_norm: float | None
    ) -> None:
        """Begin to watch; batches add up until the library takes a step."""
        self.monitor = Monitor(
            self.trial,
            model,
            optimizer,
            None,
            horizon=self.horizon,
            neighbours=self.neighbours,
            radius=self.radius,
            accumulate=None,
            clip_grad_norm=clip_grad_norm,
            rule=self.rule or VerdictRule(),
            seed=self.seed,
            record=self.record,
            store=self.store,
        )

    def _prune(self) -> None:
        """End a trial that the pruner says to end."""
        monitor = self.monitor
        if self.prune and self.trial is not None and monitor is not None and monitor.should_stop():
            raise optuna.TrialPruned(monitor.reason)

    def _close(self) -> None:
        """Complete what is recorded; the training may also have been interrupted."""
        if self.monitor is not None:
            self.monitor.close()

    def _end(self) -> None:
        """Complete what is recorded, and say so if the training was too short."""
        self._close()
        if self.monitor is not None and not self.monitor.is_done:
            warnings.warn(
                f"{type(self).__name__}: the training ended before the horizon of {self.horizon} "
                "steps, and there is no exponent; give a smaller horizon",
                UserWarning,
                stacklevel=2,
            )


def refuse(what: str, reason: str) -> None:
    """Say what cannot be watched, and what to do."""
    raise UserError(f"{what} cannot be watched: {reason}")
