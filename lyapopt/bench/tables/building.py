"""Trainings of a case, with errors that say which configuration could not be built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lyapopt.bench.tables.cases import Case
from lyapopt.dynamics import Training
from lyapopt.errors import UserError
from lyapopt.search.probing.building import build_training


def build_cell(case: Case, params: Mapping[str, Any]) -> Training:
    """The training of one configuration; global generators are seeded by its `init_seed`.

    A build function that draws weights without a seed of its own so gets others for every seed of
    the grid, and the same ones whenever it is asked again.

    Args:
        case: Whose build function is called.
        params: Of the configuration, the rate not necessarily one of the grid.

    Raises:
        UserError: If the build function raises, exits or returns something else than a `Training`.
    """
    try:
        return build_training(case.make_build(), params, int(params["init_seed"]), 0)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        given = ", ".join(f"{name}={value!r}" for name, value in params.items())
        raise UserError(
            f"{case.task}: no training for {given}: {type(error).__name__}: {error}"
        ) from error
