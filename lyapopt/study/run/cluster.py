"""Workers on a Dask cluster: Dask starts them, the study database does the rest."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import optuna

from lyapopt import interruption
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.search._optuna import every_trial
from lyapopt.store.errors import masked
from lyapopt.store.states import INTERRUPTED, state_of
from lyapopt.study.file import StudyFile
from lyapopt.study.run.events import RunResult, StudyEvent, StudyListener
from lyapopt.study.run.ledger import Ledger
from lyapopt.study.run.opening import mutex_of, open_study
from lyapopt.study.run.plan import total_of
from lyapopt.study.run.runner import run_study
from lyapopt.study.run.worker_table import WorkerSettings, WorkerTable
from lyapopt.study.run.workers import shared

if TYPE_CHECKING:
    from distributed import Client

_POLL = 0.5  # seconds
_one_at_a_time = threading.Lock()  # a process of Dask may run several tasks, torch seeds are global


def run_on_dask(
    file: StudyFile,
    address: str,
    listener: StudyListener | None = None,
    *,
    extra: int | None = None,
    settings: WorkerSettings | None = None,
) -> RunResult:
    """Run a study with one worker on each worker of an existing Dask cluster.

    A worker of Dask that dies takes no more than its running trials with it, and the other
    workers run them again. Ctrl-C lets every worker finish the group it is at.

    Args:
        file: A validated study file. Its storage must be reachable from the cluster under the
            same URL, and so must the modules that it names.
        address: Of Dask's scheduler, such as `tcp://host:8786`.
        listener: Told what happens.
        extra: Run so many more trials than the study has, whatever `n_trials` says; a budget holds.
        settings: How each worker behaves towards others and towards its database.

    Raises:
        UserError: If `distributed` is not installed, no cluster answers, or every worker failed.
    """
    try:
        from distributed import Client  # here: it is an optional extra
    except ImportError:
        raise UserError("--dask needs Dask: pip install 'lyapopt[dask]'") from None
    listener = listener or StudyListener()
    settings = settings or WorkerSettings()
    if file.storage.startswith(("sqlite", "journal")):
        listener.note(
            f"{masked(file.storage)} is a file: this works only with workers of this machine"
        )
    try:
        client = Client(address, timeout=10)
    except (OSError, ValueError) as error:
        raise UserError(
            f"no Dask scheduler answers at {one_line(address)}: {one_line(error)}"
        ) from error
    with client, interruption.finishing():
        study = open_study(file, listener, settings)
        return _run(client, study, file, listener, extra, settings)


def _run(
    client: Client,
    study: optuna.Study,
    file: StudyFile,
    listener: StudyListener,
    extra: int | None,
    settings: WorkerSettings,
) -> RunResult:
    addresses = list(client.scheduler_info(n_workers=-1)["workers"])
    if not addresses:
        raise UserError("the Dask cluster has no workers; start some, then run again")
    before = Ledger.of(study, file.on_failure.max_retries)
    total = total_of(file, len(before.done), extra)
    listener.started(StudyEvent(study.study_name, total, before))
    # Not tied to an address, so that a task whose worker dies begins anew on another one.
    futures = [client.submit(_work, shared(file), total, settings, pure=False) for _ in addresses]
    finished = _FinishedTrials(study, listener)
    interrupted = False
    try:
        while not all(future.done() for future in futures):
            finished.tell_new()
            interruption.wait(_POLL)
    except KeyboardInterrupt:
        interrupted = True
        _ask_to_stop(study, file)
    outcomes = client.gather(futures, errors="skip")
    finished.tell_new()
    if not outcomes:
        error = futures[0].exception()
        raise UserError(f"every worker failed; the first: {one_line(error)}")
    interrupted = interruption.came() or interrupted
    reason = INTERRUPTED if interrupted else outcomes[-1][1]
    after = Ledger.of(study, file.on_failure.max_retries)
    listener.stopped(StudyEvent(study.study_name, total, after), reason)
    return RunResult(after, sum(new for new, _ in outcomes), reason, interrupted)


class _FinishedTrials:
    """Tells a listener of trials that have ended, as the database has them."""

    def __init__(self, study: optuna.Study, listener: StudyListener) -> None:
        self._study = study
        self._listener = listener
        self._known = {t.number for t in every_trial(study) if t.state.is_finished()}

    def tell_new(self) -> None:
        for trial in every_trial(self._study):
            if not trial.state.is_finished() or trial.number in self._known:
                continue
            self._known.add(trial.number)
            if state_of(trial) != INTERRUPTED:
                self._listener.finished(trial, None)


def _ask_to_stop(study: optuna.Study, file: StudyFile) -> None:
    with mutex_of(file):
        table = WorkerTable.read(study)
        table.stop = INTERRUPTED
        table.write(study)


def _work(file: StudyFile, total: int | None, settings: WorkerSettings) -> tuple[int, str]:
    """What a worker of Dask does: small numbers go back, everything else is in the database."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with _one_at_a_time:
        result = run_study(file, total=total, settings=settings, promotes=False)
    return result.new, result.reason
