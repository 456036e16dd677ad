"""`lyapopt storage doctor`: what a database holds, what is wrong with it, and what to do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import optuna
import sqlalchemy
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import text

from lyapopt.search._optuna import worker_of
from lyapopt.store import (
    RUN_ATTRIBUTE,
    RecordNotFoundError,
    StoreError,
    StoreSchemaError,
    TrajectoryStore,
    schema,
)
from lyapopt.store.engine import has_sql, make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import explained, masked
from lyapopt.store.states import state_of
from lyapopt.study.run import processes
from lyapopt.study.run.spill import Spill
from lyapopt.study.run.storage import check_tables, open_storage, study_mutex
from lyapopt.study.run.worker_table import WorkerTable

Level = Literal["fine", "note", "wrong"]

_TIMEOUT = 30.0  # seconds


@dataclass(frozen=True)
class Finding:
    """One thing about a database.

    Attributes:
        level: `fine`, `note` (good to know), or `wrong`.
        what: What was found.
        advice: What to do about it.
    """

    level: Level
    what: str
    advice: str | None = None


def examine(storage: str, store: str | None = None, *, deep: bool = False) -> list[Finding]:
    """Examine a database; nothing is changed.

    Args:
        storage: URL of Optuna's storage.
        store: URL of a store of its own.
        deep: Whether to read every trajectory as well, which may take minutes.

    Raises:
        UserError: If it cannot be opened at all.
    """
    findings, opened = _storage(storage)
    rows, trouble = _rows(store or (storage if has_sql(storage) else None))
    findings += trouble
    for name in [] if opened is None else optuna.get_all_study_names(opened):
        study = optuna.load_study(study_name=name, storage=opened)
        findings += _study(study, storage, store, rows)
    if rows is not None:
        findings += _orphans(rows, has_sql(storage) and store is None)
        if deep:
            findings += _damage(rows)
        rows.close()
    return findings


def _storage(storage: str) -> tuple[list[Finding], BaseStorage | None]:
    """What holds of Optuna's storage as a whole, and the storage if it can be read."""
    if not has_sql(storage):
        return [], open_storage(storage, create=False)
    url = parse_url(storage)
    refuse_missing_file(url)
    findings = _file(url) if url.get_backend_name() == "sqlite" else []
    try:
        check_tables(url)
    except RecordNotFoundError as error:
        return [*findings, Finding("note", str(error))], None
    except StoreSchemaError as error:
        return [*findings, Finding("wrong", str(error))], None
    backend = optuna.storages.RDBStorage(
        storage, skip_compatibility_check=True, skip_table_creation=True
    )
    current, head = backend.get_current_version(), backend.get_head_version()
    backend.remove_session()
    backend.engine.dispose()
    if current != head:
        what = f"Optuna's tables have version {current}, the installed one knows {head}"
        return [*findings, Finding("wrong", what, "lyapopt storage upgrade")], None
    findings.append(Finding("fine", f"Optuna's tables: version {current}"))
    return findings, open_storage(storage, create=False)


def _file(url: sqlalchemy.URL) -> list[Finding]:
    engine = make_engine(url, _TIMEOUT)
    try:
        with explained(url, "examine"), engine.connect() as connection:
            check = connection.scalar(text("PRAGMA quick_check"))
            mode = connection.scalar(text("PRAGMA journal_mode"))
    finally:
        engine.dispose()
    path = Path(str(url.database))
    findings = [Finding("fine", f"{path}: {path.stat().st_size / 1e6:.1f} MB, intact")]
    if check != "ok":
        advice = "Restore a copy, or try `sqlite3 FILE .recover`."
        findings = [Finding("wrong", f"{path} is damaged: {check}", advice)]
    if mode == "wal":
        what = f"{path} is in WAL mode: the browser-only dashboard cannot open it"
        findings.append(Finding("note", what, "sqlite3 FILE 'PRAGMA journal_mode=DELETE'"))
    return findings


def _rows(url: str | None) -> tuple[TrajectoryStore | None, list[Finding]]:
    if url is None:
        what = "this storage has no SQL, and nothing was recorded beside Optuna's own data"
        return None, [Finding("note", what, "give `store: URL` in the study file")]
    try:
        store = TrajectoryStore(url, create=False)
    except StoreSchemaError as error:
        return None, [Finding("note", str(error))]
    return store, [Finding("fine", f"our tables: version {schema.HEAD}")]


def _study(
    study: optuna.Study, storage: str, store: str | None, rows: TrajectoryStore | None
) -> list[Finding]:
    trials = study.get_trials(deepcopy=False)
    counts = Counter(trial.state.name.lower() for trial in trials)
    numbers = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
    findings = [Finding("fine", f"study {study.study_name!r}: trials {numbers}")]
    findings += _running(study, trials, storage, store)
    if rows is not None:
        findings += _agreement(study.study_name, trials, rows)
    files = Spill(study.study_name, storage, [Path.cwd()]).files()
    if files:
        what = f"{len(files)} trials of study {study.study_name!r} are kept in spill files"
        advice = f"the next `lyapopt run` imports them ({files[0]}, ...)"
        findings.append(Finding("wrong", what, advice))
    return findings


def _running(
    study: optuna.Study, trials: list[FrozenTrial], storage: str, store: str | None
) -> list[Finding]:
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    mutex = study_mutex(storage, store, study.study_name)
    if mutex is None:
        return []
    try:
        living = WorkerTable.read(study).living(mutex.read_clock())
    finally:
        mutex.close()
    findings = [
        Finding("fine", f"study {study.study_name!r} is run by {processes.short_name(name)}")
        for name in sorted(living)
    ]
    stale = [t for t in running if worker_of(t) is not None and worker_of(t) not in living]
    if stale:
        what = f"study {study.study_name!r}: {len(stale)} trials were left by workers that died"
        findings.append(Finding("note", what, "`lyapopt run` finishes them, or runs them again"))
    foreign = [t for t in running if worker_of(t) is None]
    if foreign:
        what = f"study {study.study_name!r}: {len(foreign)} running trials are not of lyapopt"
        findings.append(Finding("note", what, "whoever asked for them has to tell them"))
    return findings


def _agreement(name: str, trials: list[FrozenTrial], rows: TrajectoryStore) -> list[Finding]:
    """Whether Optuna and the store say the same of every trial."""
    states = rows.states(name)
    missing, different = [], []
    for trial in trials:
        run, state = trial.user_attrs.get(RUN_ATTRIBUTE), state_of(trial)
        if run is None or state not in ("complete", "pruned"):
            continue
        if run not in states:
            missing.append(trial.number)
        elif states[run] != state:
            different.append(trial.number)
    findings = []
    if missing:
        what = f"study {name!r}: nothing is stored of {len(missing)} finished trials"
        findings.append(Finding("wrong", f"{what} ({_some(missing)})", "restore the store's data"))
    if different:
        what = f"study {name!r}: {len(different)} trials ended otherwise than their rows say"
        findings.append(Finding("wrong", f"{what} ({_some(different)})"))
    return findings


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:5])) + (", ..." if len(numbers) > 5 else "")


def _orphans(rows: TrajectoryStore, beside_optuna: bool) -> list[Finding]:
    if not beside_optuna:
        return []
    count = rows.gc(dry_run=True, grace=0.0)
    if not count:
        return [Finding("fine", "every stored run is named by a trial")]
    what = f"{count} stored runs are named by no trial, such as those of deleted studies"
    return [Finding("note", what, "lyapopt storage gc")]


def _damage(rows: TrajectoryStore) -> list[Finding]:
    findings = []
    runs = list(rows.states())
    for run in runs:
        try:
            rows.read(run)
        except StoreError as error:
            findings.append(Finding("wrong", f"run {run} in {masked(rows.url)}: {error}"))
    return findings or [Finding("fine", f"all series of {len(runs)} runs can be read")]
