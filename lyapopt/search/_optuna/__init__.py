"""The one place of `search` that touches what Optuna keeps private.

Each function says which private thing it needs and why the public interface does not do.
"""

from lyapopt.search._optuna.history import (
    NUMBER_ATTRIBUTE,
    OrderedStudy,
    bracket_study,
    every_trial,
    logical_number,
    worker_of,
    wrapped_pruners,
)
from lyapopt.search._optuna.samplers import (
    contains,
    draw_relative,
    grid_place,
    grid_points_left,
    remember_exhaustion,
    reseed,
)
from lyapopt.search._optuna.storage import (
    close_storage,
    get_study_attribute,
    inside_optimize,
    intercept,
    remove_session,
    set_study_attribute,
    stop_was_asked,
    study_is_there,
    study_key,
)
from lyapopt.search._optuna.trials import (
    begin_again,
    begin_trial,
    create_trial,
    end_interrupted,
    fail_stale,
    frozen,
    frozen_in_memory,
    identifier,
    is_fixed,
    record_heartbeats,
    set_attribute,
    take_waiting,
)

__all__ = [
    "NUMBER_ATTRIBUTE",
    "OrderedStudy",
    "begin_again",
    "begin_trial",
    "bracket_study",
    "close_storage",
    "contains",
    "create_trial",
    "draw_relative",
    "end_interrupted",
    "every_trial",
    "fail_stale",
    "frozen",
    "frozen_in_memory",
    "get_study_attribute",
    "grid_place",
    "grid_points_left",
    "identifier",
    "inside_optimize",
    "intercept",
    "is_fixed",
    "logical_number",
    "record_heartbeats",
    "remember_exhaustion",
    "remove_session",
    "reseed",
    "set_attribute",
    "set_study_attribute",
    "stop_was_asked",
    "study_is_there",
    "study_key",
    "take_waiting",
    "worker_of",
    "wrapped_pruners",
]
