"""The SQL side: trajectories and exponents beside Optuna's tables."""

from lyapopt.store.errors import (
    DamagedDataError,
    RecordNotFoundError,
    StoreBusyError,
    StoreError,
    StoreFullError,
    StoreSchemaError,
)
from lyapopt.store.records import (
    RUN_ATTRIBUTE,
    DecisionRecord,
    ExponentRecord,
    RunRecord,
    TrajectoryRecord,
    new_run_id,
)
from lyapopt.store.store import TrajectoryStore

__all__ = [
    "RUN_ATTRIBUTE",
    "DamagedDataError",
    "DecisionRecord",
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
