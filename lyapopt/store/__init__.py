"""The SQL side: trajectories and exponents beside Optuna's tables."""

from lyapopt.store.damage import DamagedDataWarning
from lyapopt.store.errors import (
    DamagedDataError,
    RecordNotFoundError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreSchemaError,
)
from lyapopt.store.records import (
    Decision,
    ExponentRecord,
    RunRecord,
    TrajectoryRecord,
    new_run_id,
)
from lyapopt.store.states import RUN_ATTRIBUTE
from lyapopt.store.store import TrajectoryStore

__all__ = [
    "RUN_ATTRIBUTE",
    "DamagedDataError",
    "DamagedDataWarning",
    "Decision",
    "ExponentRecord",
    "RecordNotFoundError",
    "RunRecord",
    "StoreBusyError",
    "StoreError",
    "StoreFullError",
    "StoreSchemaError",
    "TrajectoryRecord",
    "TrajectoryStore",
    "new_run_id",
]
