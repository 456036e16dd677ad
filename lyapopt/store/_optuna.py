"""The one place of `store` that touches what Optuna keeps private: tables and fields of trials.

Optuna has no public way to write several values in one transaction, which is what a buffer is for,
so that its tables are written to here. They are those of Optuna 5; another version's tables are
refused when the storage is opened.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from optuna.distributions import BaseDistribution, json_to_distribution
from optuna.storages import BaseStorage, RDBStorage
from optuna.storages._heartbeat import BaseHeartbeat
from optuna.storages._rdb import models
from optuna.study._frozen import FrozenStudy
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Table
from sqlalchemy.orm import scoped_session, sessionmaker

__all__ = [
    "INTERMEDIATE_VALUES",
    "LONGEST_KEY",
    "PARAMS",
    "STUDIES",
    "SYSTEM_ATTRIBUTES",
    "TRIALS",
    "USER_ATTRIBUTES",
    "VALUES",
    "BaseHeartbeat",
    "FrozenStudy",
    "as_local",
    "as_stored",
    "begin_with_new_connections",
    "distribution_of",
    "intermediate_value_of",
    "new_trial",
    "rdb_of",
    "stale_trials",
    "stored_intermediate_value",
    "stored_value",
    "trial_id_of",
    "value_of",
    "with_fields",
    "with_id",
]

LONGEST_KEY: Final[int] = models.MAX_INDEXED_STRING_LENGTH

STUDIES: Final[Table] = models.StudyModel.__table__
TRIALS: Final[Table] = models.TrialModel.__table__
PARAMS: Final[Table] = models.TrialParamModel.__table__
VALUES: Final[Table] = models.TrialValueModel.__table__
USER_ATTRIBUTES: Final[Table] = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Final[Table] = models.TrialSystemAttributeModel.__table__
INTERMEDIATE_VALUES: Final[Table] = models.TrialIntermediateValueModel.__table__

stored_value = models.TrialValueModel.value_to_stored_repr
value_of = models.TrialValueModel.stored_repr_to_value
stored_intermediate_value = models.TrialIntermediateValueModel.intermediate_value_to_stored_repr
intermediate_value_of = models.TrialIntermediateValueModel.stored_repr_to_intermediate_value


def rdb_of(storage: BaseStorage) -> object:
    """The storage that Optuna's cache is around, or the storage itself."""
    return getattr(storage, "_backend", storage)


def stale_trials(storage: RDBStorage, study_id: int) -> list[int]:
    """Ids of running trials whose heartbeat stopped."""
    return storage._get_stale_trial_ids(study_id)


def trial_id_of(trial: FrozenTrial) -> int:
    """The id of a trial in its storage."""
    return trial._trial_id


def new_trial(trial_id: int, number: int, state: TrialState, **fields: Any) -> FrozenTrial:
    """A trial of which the fields that are not given are empty."""
    empty: dict[str, Any] = {
        "value": None,
        "values": None,
        "datetime_start": None,
        "datetime_complete": None,
        "params": {},
        "distributions": {},
        "user_attrs": {},
        "system_attrs": {},
        "intermediate_values": {},
    }
    return FrozenTrial(trial_id=trial_id, number=number, state=state, **(empty | fields))


def with_fields(trial: FrozenTrial, **fields: Any) -> FrozenTrial:
    """A trial like another with other values of some fields; the other one is not changed."""
    changed = object.__new__(type(trial))  # as copy.copy does, several times as fast
    vars(changed).update(vars(trial))
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def with_id(trial: FrozenTrial, trial_id: int, number: int) -> FrozenTrial:
    """The trial under the id and the number that the storage gave it."""
    return with_fields(trial, _trial_id=trial_id, number=number)


def begin_with_new_connections(storage: RDBStorage) -> None:
    """Leave the connections of a parent process to it."""
    storage.engine.dispose(close=False)
    storage.scoped_session = scoped_session(sessionmaker(bind=storage.engine))


@lru_cache(maxsize=4096)
def distribution_of(text: str) -> BaseDistribution:
    """The distribution that a JSON text of Optuna's tables means."""
    return json_to_distribution(text)


def as_stored(moment: datetime | None) -> datetime | None:
    """A moment as Optuna's tables hold it: in UTC, without a time zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def as_local(moment: datetime | None) -> datetime | None:
    """A moment of Optuna's tables as its trials have it: in local time, without a time zone."""
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)
