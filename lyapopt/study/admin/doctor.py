"""`lyapopt storage doctor`: what a database holds, what is wrong with it, and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import optuna
import sqlalchemy
from optuna.trial import TrialState
from sqlalchemy import text

from lyapopt.search._optuna import worker_of
from lyapopt.store import (
    RecordNotFoundError,
    StoreError,
    StoreSchemaError,
    TrajectoryStore,
    schema,
)
from lyapopt.store.engine import has_sql, make_engine, parse_url, refuse_missing_file
from lyapopt.store.errors import explained
from lyapopt.store.reading import numbered
from lyapopt.store.states import run_in
from lyapopt.store.urls import as_text
from lyapopt.study.admin.parameters import lost_parameters
from lyapopt.study.analysis.overview import StoredStudy, load_study, names_of_studies
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
    findings, is_readable = _storage(storage)
    rows, trouble = _rows(store or (storage if has_sql(storage) else None))
    findings += trouble
    names = names_of_studies(storage) if is_readable else []
    for name in names:
        findings += _study(name, storage, store, rows)
        running = partial(_running, name, storage, store)
        findings += _going_on("who runs study", repr(name), running)
    if rows is not None:
        findings += _going_on("the runs of", "the store", partial(_unnamed, rows, storage, store))
        if deep:
            findings += _damage(rows)
        rows.close()
    return findings


def _going_on(what: str, where: str, examine: Callable[[], list[Finding]]) -> list[Finding]:
    """What was found, or that it could not be examined: damage must not hide other damage."""
    try:
        return examine()
    except Exception as error:  # whatever Optuna or a driver raises of damaged rows
        text = " ".join(str(error).split()) or type(error).__name__
        return [Finding("wrong", f"{what} {where} cannot be examined: {text[:300]}")]


def _storage(storage: str) -> tuple[list[Finding], bool]:
    """What holds of Optuna's storage as a whole, and whether studies can be read."""
    if not has_sql(storage):
        open_storage(storage, create=False)
        return [], True
    url = parse_url(storage)
    refuse_missing_file(url)
    findings = _file(url) if url.get_backend_name() == "sqlite" else []
    try:
        check_tables(url)
    except StoreSchemaError as error:
        return [*findings, Finding("wrong", str(error))], False
    except RecordNotFoundError as error:
        return [*findings, Finding("note", str(error))], False
    backend = optuna.storages.RDBStorage(
        as_text(url), skip_compatibility_check=True, skip_table_creation=True
    )
    current, head = backend.get_current_version(), backend.get_head_version()
    backend.remove_session()
    backend.engine.dispose()
    if current != head:
        what = f"Optuna's tables have version {current}, the installed one knows {head}"
        return [*findings, Finding("wrong", what, "lyapopt storage upgrade")], False
    findings.append(Finding("fine", f"Optuna's tables: version {current}"))
    return findings, True


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
    name: str, storage: str, store: str | None, rows: TrajectoryStore | None
) -> list[Finding]:
    try:
        study = load_study(storage, name, store)
    except StoreError as error:
        return [Finding("wrong", f"study {name!r} cannot be read: {error}")]
    counts = Counter(trial.state for trial in study.trials)
    numbers = ", ".join(f"{count} {state}" for state, count in sorted(counts.items())) or "none"
    findings = [Finding("fine", f"study {name!r}: trials {numbers}")]
    findings += [Finding("wrong", f"study {name!r}: {text}") for text in study.damage]
    if rows is not None:
        agreement = partial(_agreement, study, rows)
        findings += _going_on("the stored runs of study", repr(name), agreement)
    parameters = partial(_parameters, study, storage, store)
    findings += _going_on("the parameters of study", repr(name), parameters)
    files = Spill(name, storage, [Path.cwd()]).files()
    if files:
        what = f"{len(files)} trials of study {name!r} are kept in spill files"
        advice = f"the next `lyapopt run` imports them ({files[0]}, ...)"
        findings.append(Finding("wrong", what, advice))
    return findings


def _running(name: str, storage: str, store: str | None) -> list[Finding]:
    opened = open_storage(storage, create=False)
    study = optuna.load_study(study_name=name, storage=opened)
    trials = study.get_trials(deepcopy=False)
    running = [trial for trial in trials if trial.state == TrialState.RUNNING]
    mutex = study_mutex(storage, store, name)
    if mutex is None:
        return []
    try:
        living = WorkerTable.read(study).living(mutex.read_clock())
    finally:
        mutex.close()
    findings = [
        Finding("fine", f"study {name!r} is run by {processes.short_name(worker)}")
        for worker in sorted(living)
    ]
    stale = [t for t in running if worker_of(t) is not None and worker_of(t) not in living]
    if stale:
        what = f"study {name!r}: {len(stale)} trials were left by workers that died"
        findings.append(Finding("note", what, "`lyapopt run` finishes them, or runs them again"))
    foreign = [t for t in running if worker_of(t) is None]
    if foreign:
        what = f"study {name!r}: {len(foreign)} running trials are not of lyapopt"
        findings.append(Finding("note", what, "whoever asked for them has to tell them"))
    return findings


def _agreement(study: StoredStudy, rows: TrajectoryStore) -> list[Finding]:
    """Whether Optuna and the store say the same of every trial."""
    states, bare = rows.states(study.name), rows.runs_without_exponents(study.name)
    missing, different, unmeasured = [], [], []
    for trial in study.trials:
        run = run_in(trial.attributes)
        if run is None or trial.state not in ("complete", "pruned"):
            continue
        if run not in states:
            missing.append(trial.number)
        elif states[run] != trial.state:
            different.append(trial.number)
        if run in bare and trial.exponent is not None:
            unmeasured.append(trial.number)
    findings = []
    of_study = f"study {study.name!r}:"
    if missing:
        what = f"{of_study} nothing is stored of {len(missing)} finished trials"
        advice = "restore the store's data"
        findings.append(Finding("wrong", f"{what} ({numbered(missing)})", advice))
    if different:
        what = f"{of_study} {len(different)} trials ended otherwise than their rows say"
        findings.append(Finding("wrong", f"{what} ({numbered(different)})"))
    if unmeasured:
        what = f"{of_study} the exponents of {len(unmeasured)} trials are missing in the store"
        findings.append(Finding("wrong", f"{what} ({numbered(unmeasured)})"))
    return findings


def _parameters(study: StoredStudy, storage: str, store: str | None) -> list[Finding]:
    """Parameters that trials should have and have not."""
    advice = "restore a copy of the database: samplers leave such trials out"
    return [
        Finding(
            "wrong" if was_there else "note",
            f"study {study.name!r}: {what}",
            advice if was_there else None,
        )
        for what, was_there in lost_parameters(study, storage, store)
    ]


def _unnamed(rows: TrajectoryStore, storage: str, store: str | None) -> list[Finding]:
    """Runs that no trial names, and rows that no run has."""
    headless = rows.runs_without_header()
    findings = []
    if headless:
        what = f"{len(headless)} stored runs have lost their header: {headless[0]}, ..."
        findings.append(Finding("wrong", what, "restore the store's data"))
    if not has_sql(storage) or store is not None:
        return findings
    count = rows.gc(dry_run=True, grace=0.0)
    if not count:
        return [*findings, Finding("fine", "every stored run is named by a trial")]
    what = f"{count} stored runs are named by no trial, such as those of deleted studies"
    return [*findings, Finding("note", what, "lyapopt storage gc")]


def _damage(rows: TrajectoryStore) -> list[Finding]:
    try:
        runs = rows.all_runs()
    except StoreError as error:
        return [Finding("wrong", f"the stored runs cannot be read: {error}")]
    findings = []
    for run in runs:
        found = _going_on("run", run, partial(_damage_of, rows, run))
        findings += found
    return findings or [Finding("fine", f"all series of {len(runs)} runs can be read")]


def _damage_of(rows: TrajectoryStore, run: str) -> list[Finding]:
    return [Finding("wrong", f"run {run} in {rows.url}: {text}") for text in rows.damage_of(run)]
