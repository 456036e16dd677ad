"""A trial as named fields: what `--columns`, `--sort` and `--where` may name, and what is printed.

A parameter has its own name, with `params_` before it where a field is called so already.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from lyapopt.cli.text import interval
from lyapopt.errors import UserError
from lyapopt.store.states import EXPONENT, HIGH, LOW
from lyapopt.store.trials import StoredTrial
from lyapopt.study.file.messages import did_you_mean

__all__ = ["Fields", "as_dict", "json_ready"]

Field = Callable[[StoredTrial], Any]

_PREFIX: Final = "params_"
_MEASURED: Final = (EXPONENT, LOW, HIGH)

_BEFORE: Final[Mapping[str, Field]] = {
    "trial": lambda trial: trial.number,
    "state": lambda trial: trial.state,
}
_AFTER: Final[Mapping[str, Field]] = {
    "exponent": lambda trial: trial.exponent,
    "exponent_low": lambda trial: None if trial.interval is None else trial.interval[0],
    "exponent_high": lambda trial: None if trial.interval is None else trial.interval[1],
    "verdict": lambda trial: trial.verdict,
    "gradient_evaluations": lambda trial: trial.gradient_evaluations,
    "reason": lambda trial: trial.reason,
}
_ON_DEMAND: Final[Mapping[str, Field]] = {
    "interval": lambda trial: interval(trial.interval) or None,
    "measured": lambda trial: trial.measured,
    "cost": lambda trial: trial.gradient_evaluations,
    "step": lambda trial: trial.progress.step,
    "started": lambda trial: None if trial.started is None else trial.started.isoformat(" "),
    "finished": lambda trial: None if trial.finished is None else trial.finished.isoformat(" "),
    "seconds": lambda trial: _seconds(trial),
}


class Fields:
    """The fields that the trials of a study have, by name.

    Args:
        trials: All trials of the study.

    Example:
        >>> fields = Fields([StoredTrial(7, "complete", (0.25,), {"lr": 0.1, "state": "solid"})])
        >>> fields.usual
        ['trial', 'state', 'value', 'exponent', 'exponent_low', 'exponent_high', 'verdict', \
'gradient_evaluations', 'reason', 'lr', 'params_state']
    """

    def __init__(self, trials: Iterable[StoredTrial]) -> None:
        trials = list(trials)
        objectives = max((len(trial.values) for trial in trials), default=1)
        names = ["value"] if objectives < 2 else [f"value_{k}" for k in range(objectives)]
        values = {name: _value(index) for index, name in enumerate(names)}
        own = {*_BEFORE, *values, *_AFTER, *_ON_DEMAND}
        found = dict.fromkeys(name for trial in trials for name in trial.params)
        self.params = {n: n if n not in own else _PREFIX + n for n in found}
        params = {shown: _param(name) for name, shown in self.params.items()}
        self.values = names
        is_said = any(trial.measured for trial in trials)
        measured = {"measured": _ON_DEMAND["measured"]} if is_said else {}
        self._usual: dict[str, Field] = {**_BEFORE, **values, **_AFTER, **measured, **params}
        attributes = dict.fromkeys(name for trial in trials for name in trial.attributes)
        others = {n: _attribute(n) for n in attributes if n not in {*own, *self._usual}}
        prefixed = {_PREFIX + name: _param(name) for name in found}
        self._all = {**others, **prefixed, **_ON_DEMAND, **self._usual}

    @property
    def usual(self) -> list[str]:
        """Those that a row has where nothing else was asked for."""
        return list(self._usual)

    def named(self, text: str, option: str) -> list[str]:
        """The fields of a list such as `trial,value,lr`; `all` is the usual ones.

        Raises:
            UserError: If there is no such field.
        """
        names = [name.strip() for name in text.split(",") if name.strip()]
        if names == ["all"]:
            return self.usual
        if not names:
            raise UserError(f"{option} is empty; there are {', '.join(self.usual)}")
        for name in names:
            self.check(name, option)
        return names

    def check(self, name: str, option: str) -> None:
        """Refuse a field that no trial has.

        Raises:
            UserError: With the nearest name, or those that there are.
        """
        if name not in self._all:
            hint = did_you_mean(name, self._all) or f"there are {', '.join(self.usual)}"
            raise UserError(f"{option}: no column is called {name[:100]}; {hint}")

    def get(self, name: str, trial: StoredTrial) -> Any:
        """A field of a trial; `None` where the trial does not have it."""
        return self._all[name](trial)

    def rows(self, names: Sequence[str], trials: Iterable[StoredTrial]) -> list[dict[str, Any]]:
        """Trials as mappings from these names."""
        return [{name: self._all[name](trial) for name in names} for trial in trials]

    def every(self, trial: StoredTrial) -> dict[str, Any]:
        """All that there is of a trial."""
        return {name: field(trial) for name, field in self._all.items()}


def _value(index: int) -> Field:
    return lambda trial: float(trial.values[index]) if index < len(trial.values) else None


def _param(name: str) -> Field:
    return lambda trial: trial.params.get(name)


def _attribute(name: str) -> Field:
    return lambda trial: trial.attributes.get(name)


def _seconds(trial: StoredTrial) -> float | None:
    if trial.started is None or trial.finished is None:
        return None
    return (trial.finished - trial.started).total_seconds()


def as_dict(trial: StoredTrial) -> dict[str, Any]:
    """A trial as plain data.

    Example:
        >>> as_dict(StoredTrial(7, "complete", (0.25,), {"lr": 0.1}))["params"]
        {'lr': 0.1}
    """
    values = [float(value) for value in trial.values]
    head = {name: field(trial) for name, field in _BEFORE.items()}
    return {
        **head,
        **({"values": values} if len(values) > 1 else {"value": values[0] if values else None}),
        **{name: field(trial) for name, field in _AFTER.items()},
        **({"measured": trial.measured} if trial.measured else {}),
        "params": dict(trial.params),
    }


def json_ready(row: Mapping[str, Any], trial: StoredTrial | None = None) -> dict[str, Any]:
    """A row without what JSON has no number for: null, and the reason says what it was.

    Args:
        row: Plain data.
        trial: Whose, if it is a trial's: its exponent is null where it is not finite.

    Example:
        >>> json_ready({"value": math.inf, "reason": None})
        {'value': None, 'reason': 'value is inf'}
    """
    odd: list[str] = []
    ready = {name: _finite(value, name, odd) for name, value in row.items()}
    for name in _MEASURED if trial is not None else ():
        raw = trial.attributes.get(name) if trial is not None else None
        if name in ready and isinstance(raw, float) and not math.isfinite(raw):
            odd.append(f"{name} is {raw}")
    if odd:
        ready["reason"] = "; ".join([*filter(None, [row.get("reason")]), *odd])
    return ready


def _finite(value: Any, name: str, odd: list[str]) -> Any:
    """A value with null for numbers that are not finite, which are noted."""
    if isinstance(value, Mapping):
        return {key: _finite(item, f"{name}.{key}", odd) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item, f"{name}[{k}]", odd) for k, item in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        odd.append(f"{name} is {value}")
        return None
    return value
