"""Screening of activations and init seeds against random choice with as many gradients."""

from __future__ import annotations

import numpy as np
import pytest

from lyapopt.bench.search import screening_scan


def test_random_choice_has_the_better_of_one_training_and_a_part_of_another() -> None:
    values = np.array([0.0, 0.5, 1.0])
    assert screening_scan._random(values, 0.0) == 0.5
    assert screening_scan._random(values, 1.0) == pytest.approx(1 / 6)  # pairs: 0, 0 and .5
    assert screening_scan._random(values, 0.5) == pytest.approx(1 / 3)


def test_every_choice_of_a_case_is_made_by_every_rule(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(screening_scan, "_SEEDS", (0, 1))
    found = screening_scan.scan(["breast-cancer-small/sgd"])
    # Three activations, two seeds and three rates.
    choices = {"activation or distribution": 6, "init seed": 9}
    assert found.groupby("axis")["choices"].unique().map(list).to_dict() == {
        axis: [count] for axis, count in choices.items()
    }
    assert (found.groupby("axis").size() == 3).all()
    assert found["regret"].between(0, 1).all()
    assert (found.groupby("axis")["random"].nunique() == 1).all()
