"""What goes straight to Optuna's storage: studies, their attributes, and heartbeats."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from optuna import Study
from optuna.storages import BaseStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from lyapopt.store._optuna import BaseHeartbeat, FrozenStudy, stale_trials


class DirectStorage(BaseStorage, BaseHeartbeat):
    """The part of an Optuna storage that an `RDBStorage` behind it does, at once."""

    _backend: RDBStorage

    def create_new_study(
        self, directions: Sequence[StudyDirection], study_name: str | None = None
    ) -> int:
        """See `BaseStorage`."""
        return self._backend.create_new_study(directions, study_name)

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._backend.set_study_user_attr(study_id, key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        self._backend.set_study_system_attr(study_id, key, value)

    def get_study_id_from_name(self, study_name: str) -> int:
        """See `BaseStorage`."""
        return self._backend.get_study_id_from_name(study_name)

    def get_study_name_from_id(self, study_id: int) -> str:
        """See `BaseStorage`."""
        return self._backend.get_study_name_from_id(study_id)

    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        """See `BaseStorage`."""
        return self._backend.get_study_directions(study_id)

    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`; as the database has them now."""
        return self._backend.get_study_user_attrs(study_id)

    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        """See `BaseStorage`; as the database has them now."""
        return self._backend.get_study_system_attrs(study_id)

    def get_all_studies(self) -> list[FrozenStudy]:
        """See `BaseStorage`."""
        return self._backend.get_all_studies()

    def delete_study(self, study_id: int) -> None:
        """See `BaseStorage`."""
        self._backend.delete_study(study_id)

    def record_heartbeat(self, trial_id: int) -> None:
        """See `RDBStorage`."""
        self._backend.record_heartbeat(trial_id)

    def _get_stale_trial_ids(self, study_id: int) -> list[int]:
        return stale_trials(self._backend, study_id)

    def get_heartbeat_interval(self) -> int | None:
        """See `RDBStorage`."""
        return self._backend.get_heartbeat_interval()

    def get_heartbeat_stale_trial_callback(self) -> Callable[[Study, FrozenTrial], None] | None:
        """See `RDBStorage`."""
        return self._backend.get_heartbeat_stale_trial_callback()

    def remove_session(self) -> None:
        """Give the database connection of this thread back."""
        self._backend.remove_session()
