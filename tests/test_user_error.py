"""A `UserError` is a `ValueError`, and says what it says wherever it comes through."""

from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest

from lyapopt.errors import NotStackableError, RadiusError, TrainingError, UserError
from lyapopt.store import StoreError
from lyapopt.study.file import ClassSpec


@pytest.mark.parametrize(
    "error", [UserError, TrainingError, NotStackableError, RadiusError, StoreError]
)
def test_who_catches_value_errors_catches_ours(error: type[UserError]) -> None:
    with pytest.raises(ValueError, match="mend it so"):
        raise error("mend it so")


def test_optuna_is_told_to_catch_it_as_any_value_error() -> None:
    def objective(trial: optuna.Trial) -> float:
        raise UserError("no such task")

    study = optuna.create_study()
    study.optimize(objective, n_trials=1, catch=(ValueError,))
    assert [trial.state.name for trial in study.trials] == ["FAIL"]


def test_a_sampler_that_explains_itself_is_not_explained_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "explaining.py").write_text(
        "from lyapopt import UserError\n\n\n"
        "class Sampler:\n"
        "    def __init__(self) -> None:\n"
        "        raise UserError('mend it so')\n"
    )
    monkeypatch.delitem(sys.modules, "explaining", raising=False)
    with pytest.raises(UserError, match=r"^mend it so$"):
        ClassSpec("explaining:Sampler", {}).build(base_dir=tmp_path)
