"""What a trial has been given and the database has not."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection

from lyapopt.store._optuna import distribution_of, with_fields


@dataclass(eq=False)
class Batch:
    """Trials that end in one transaction.

    Attributes:
        losses: When it is over, the ids of those that somebody else had finished or deleted.
        writes: What else is written in the same transaction.
        is_open: Whether trials may still be told.
    """

    losses: set[int] = field(default_factory=set)
    writes: list[Callable[[Connection], object]] = field(default_factory=list)
    is_open: bool = True

    def also(self, write: Callable[[Connection], object]) -> None:
        """Write something of one's own in the transaction that ends the trials.

        Args:
            write: Called with the connection, before the trials end, and once more for each time
                that the transaction is attempted again. It neither commits nor uses the storage.
        """
        self.writes.append(write)


@dataclass(frozen=True)
class End:
    """How a trial ended.

    Attributes:
        state: A finished state.
        values: Values of the objectives, if there are any.
        moment: When, in local time.
        batch: What it is told together with.
    """

    state: TrialState
    values: tuple[float, ...] | None
    moment: datetime
    batch: Batch | None = None

    @property
    def is_held(self) -> bool:
        """Whether it must not be written yet."""
        return self.batch is not None and self.batch.is_open


@dataclass
class Pending:
    """The writes of one trial since the last flush.

    Attributes:
        params: Internal value and JSON text of the distribution; the first that was set counts.
        user_attrs, system_attrs: JSON texts; the last that was set counts.
        intermediate_values: By step; the last counts.
        end: The end of the trial, if it has come.
    """

    params: dict[str, tuple[float, str]] = field(default_factory=dict)
    user_attrs: dict[str, str] = field(default_factory=dict)
    system_attrs: dict[str, str] = field(default_factory=dict)
    intermediate_values: dict[int, float] = field(default_factory=dict)
    end: End | None = None

    def writable(self) -> Pending | None:
        """What may be written now, or `None` if that is nothing."""
        end = None if self.end is None or self.end.is_held else self.end
        part = Pending(
            self.params, self.user_attrs, self.system_attrs, self.intermediate_values, end
        )
        return part if any(vars(part).values()) else None

    def without(self, written: Pending) -> Pending | None:
        """What is left when what `writable` gave has been written."""
        return Pending(end=self.end) if self.end is not written.end else None

    def on(self, trial: FrozenTrial) -> FrozenTrial:
        """A trial as the database has it, with these writes."""
        params, distributions = dict(trial.params), dict(trial.distributions)
        for name, (value, text) in self.params.items():
            if name not in params:
                distributions[name] = distribution_of(text)
                params[name] = distributions[name].to_external_repr(value)
        changed = with_fields(
            trial,
            params=params,
            distributions=distributions,
            user_attrs=trial.user_attrs | _loaded(self.user_attrs),
            system_attrs=trial.system_attrs | _loaded(self.system_attrs),
            intermediate_values=trial.intermediate_values | self.intermediate_values,
        )
        return changed if self.end is None else ended(changed, self.end)


def ended(trial: FrozenTrial, end: End) -> FrozenTrial:
    """The trial after its end."""
    values = trial.values if end.values is None else overwritten(trial.values, end.values)
    return with_fields(trial, state=end.state, values=values, datetime_complete=end.moment)


def overwritten(old: Sequence[float] | None, new: Sequence[float]) -> list[float] | None:
    """Values of objectives in the table: each is replaced, and what is beyond them stays."""
    return [*new, *(old or ())[len(new) :]] or None


def _loaded(texts: Mapping[str, str]) -> dict[str, object]:
    return {key: json.loads(text) for key, text in texts.items()}
