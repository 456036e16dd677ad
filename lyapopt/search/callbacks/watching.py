"""The base of the callbacks: a monitor over one training."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from typing import Any, Self

import optuna
import torch
from optuna.trial import BaseTrial
from torch import nn

from lyapopt.dynamics import Training
from lyapopt.dynamics.randomness import derive_seed
from lyapopt.errors import UserError
from lyapopt.probe import Probe, VerdictRule
from lyapopt.search._optuna import logical_number, storage_type
from lyapopt.search.arguments import SearchArguments
from lyapopt.search.loop_probe import Loop, LoopProbe
from lyapopt.search.monitor import Monitor
from lyapopt.search.probing.building import Params
from lyapopt.search.probing.probes import optimizer_name
from lyapopt.search.recording.destination import Recording
from lyapopt.search.steering.optimizer_rates import set_rate
from lyapopt.search.steering.own_loop import SteeredRate
from lyapopt.search.steering.search import SearchSettings
from lyapopt.search.steering.search_line import RESOLUTION
from lyapopt.settings import RecordSettings
from lyapopt.store import TrajectoryStore

_SHARED = ("trial", "store", "_trainer")
"""What copies have in common with the original, unless it is copied along with them."""
_OF_A_TRAINING = ("_hook", "_left_off", "_loop", "_thread", "_watched", "_weight")
"""What belongs to a training that goes on or that can be continued."""


class Watching:
    """A monitor over one training, which a library's hooks show batches and steps.

    Copies have the same trial, so that what they measure arrives there; other processes can reach
    it where the study is in a database. What was measured is copied along; it is written by the
    original alone.

    Args:
        trial: Where exponent, verdict and cost go; `None` keeps them in `monitor` only.
        prune: Whether `optuna.TrialPruned` is raised when the pruner of the trial's study says to
            stop (see `Monitor.should_stop`).
        horizon, neighbours, radius, rule, seed, record, store: As for `lyapopt.watch`.
        suggest_lr: Name and range of the learning rate, `("lr", 1e-4, 1.0)`: before the first step
            it is steered as `lyapopt.suggest_lr` does, with the same horizon and neighbours, and
            the optimiser and its schedules are set to it. Rates are probed without a schedule, and
            of one that warms up or turns round it is the largest.

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
        suggest_lr: tuple[str, float, float] | None = None,
    ) -> None:
        super().__init__()
        check = SearchArguments(type(self).__name__)
        trials = "a trial of Optuna's, or None"
        check.optional(check.instance, "trial", trial, types=BaseTrial, expected=trials)
        check.flag("prune", prune)
        check.whole("horizon", horizon, least=1)
        check.whole("neighbours", neighbours, least=1)
        check.real("radius", radius, above=0)
        rules = "a VerdictRule, or None"
        check.optional(check.instance, "rule", rule, types=VerdictRule, expected=rules)
        check.whole("seed", seed)
        Recording.of(check, record, store)
        self.suggest_lr = suggest_lr
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
        if suggest_lr is not None:
            self._check_rate()

    def __getstate__(self) -> dict[str, Any]:
        state = {name: value for name, value in vars(self).items() if name not in _OF_A_TRAINING}
        if _is_in_memory(self.trial):
            warnings.warn(
                f"{type(self).__name__}: its trial belongs to a study in memory and stays in this "
                "process; give the study a database as its storage",
                UserWarning,
                stacklevel=2,
            )
            state["trial"] = None
        return state

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = memo[id(self)] = object.__new__(type(self))
        for name, value in vars(self).items():
            if name in _SHARED:
                copied.__dict__[name] = memo.get(id(value), value)
            elif name not in _OF_A_TRAINING:
                copied.__dict__[name] = copy.deepcopy(value, memo)
        return copied

    def _current_trial(self) -> BaseTrial | None:
        """The trial of the training that begins."""
        return self.trial

    def _check_rate(self) -> None:
        """Refuse what is wrong before anything is trained."""
        self._rate(self._current_trial())

    def _rate(self, trial: BaseTrial | None) -> SteeredRate:
        """The learning rate that is to be steered."""
        check = SearchArguments(type(self).__name__)
        asked = self.suggest_lr
        if not isinstance(asked, Sequence) or isinstance(asked, str) or len(asked) != 3:
            check.refuse("suggest_lr", asked, 'a name and a range such as ("lr", 1e-4, 1.0)')
        check.instance("trial", trial, BaseTrial, "a trial of Optuna's where a rate is steered")
        assert asked is not None
        assert trial is not None
        return SteeredRate.of(check, trial, *asked)

    def _steer(self, loop: Loop, schedulers: Iterable[Any]) -> float | None:
        """Steer the learning rate, if that is asked for, and set it."""
        if self.suggest_lr is None:
            return None
        rate = self._rate(self._current_trial())
        plain = Probe(self.horizon, self.neighbours, self.radius, rule=self.rule or VerdictRule())
        number = logical_number(rate.trial)
        probe = LoopProbe(
            **vars(plain),
            loop=loop,
            name=rate.name,
            seed=derive_seed(self.seed, number, rate.name),
        )
        where = type(self).__name__
        settings = SearchSettings(
            _no_build,
            probe,
            steer=rate.name,
            rates_at_once=1,
            rounds=5,
            stride=RESOLUTION,
            seed=self.seed,
            where=where,
        )
        recording = Recording.of(SearchArguments(where), self.record, self.store)
        optimizer = optimizer_name(loop.optimizer)
        value = rate.steered(settings, optimizer, recording, probe=plain)
        set_rate(loop.optimizer, schedulers, value)
        return value

    def _begin(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, clip_grad_norm: float | None
    ) -> None:
        """Begin to watch; batches add up until the library takes a step."""
        self.monitor = Monitor(
            self._current_trial(),
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
        has_trial = self._current_trial() is not None
        if self.prune and has_trial and monitor is not None and monitor.should_stop():
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


def _is_in_memory(trial: BaseTrial | None) -> bool:
    return isinstance(trial, optuna.Trial) and storage_type(trial.study) == "InMemoryStorage"


def _no_build(params: Params) -> Training:
    """A loop of a library is measured by its own probe; nothing is built."""
    raise NotImplementedError


def refuse(what: str, reason: str) -> None:
    """Say what cannot be watched, and what to do."""
    raise UserError(f"{what} cannot be watched: {reason}")
