"""Whether anything of a study has changed, in one small query."""

from __future__ import annotations

import hashlib

from sqlalchemy import Engine, String, cast, column, func, select, table

from lyapopt.store.engine import make_engine, parse_url
from lyapopt.store.errors import explained
from lyapopt.store.lookup import STUDIES

_TRIALS = table(
    "trials",
    column("trial_id"),
    column("study_id"),
    column("state"),
    column("datetime_complete"),
)


class Changes:
    """Watches the studies of a database; its connection is kept.

    Args:
        url: URL of Optuna's database.
        timeout: Seconds to wait for another process's lock.
    """

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        self._url = parse_url(url)
        self._engine: Engine = make_engine(self._url, timeout)

    def stamp(self, study_name: str) -> str | None:
        """A text that is another one after a trial was begun, told or removed.

        Args:
            study_name: Name of the study.

        Returns:
            16 hexadecimal digits, or `None` if there is no such study.

        Raises:
            StoreError: If the database cannot be read.
        """
        is_it = STUDIES.c.study_name == study_name
        state = cast(_TRIALS.c.state, String(16))
        last = cast(func.max(_TRIALS.c.datetime_complete), String(40))
        counted = select(state, func.count(), func.max(_TRIALS.c.trial_id), last)
        with explained(self._url, "read from"), self._engine.connect() as connection:
            study_id = connection.scalar(select(STUDIES.c.study_id).where(is_it))
            if study_id is None:
                return None
            of_study = counted.where(_TRIALS.c.study_id == study_id)
            rows = connection.execute(of_study.group_by(state).order_by(state)).all()
        text = repr((study_id, [tuple(row) for row in rows]))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def close(self) -> None:
        """Close the connection."""
        self._engine.dispose()
