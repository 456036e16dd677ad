"""What LyapunovPruner prunes, and what it lets pass after ten in a row."""

from __future__ import annotations

from typing import Any

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from lyapopt.search import LyapunovPruner
from lyapopt.store import Decision

Trial = dict[str, Any]


def study_of(trials: list[Trial]) -> optuna.Study:
    """A study in which trials with these attributes have ended."""
    study = optuna.create_study()
    states = [TrialState.PRUNED, TrialState.FAIL]
    study.add_trials(
        [
            optuna.create_trial(state=states[i % 2], user_attrs=trial)
            for i, trial in enumerate(trials)
        ]
    )
    return study


def decided(before: list[Trial], trial: Trial, **limits: Any) -> Decision | None:
    """What is decided of a trial that comes after others."""
    study = study_of([*before, trial])
    return LyapunovPruner(**limits).decide(study, study.trials[-1])


def measured(fall: float, exponent: float = 0.0, verdict: str = "neutral") -> Trial:
    return {"loss_fall": fall, "exponent": exponent, "verdict": verdict}


def is_pruned(before: list[Trial], trial: Trial, **limits: Any) -> bool:
    decision = decided(before, trial, **limits)
    return decision is not None and decision.pruned


@pytest.mark.parametrize(
    ("trial", "reason"),
    [
        (measured(0.011), None),
        (measured(0.01), None),
        (
            measured(0.0099),
            "slow: the loss fell by 0.99% of its first value, where a fall of at least 1.00% is "
            "needed",
        ),
        (
            measured(-0.2),
            "slow: the loss rose by 20.00% of its first value, where a fall of at least 1.00% is "
            "needed",
        ),
        (measured(0.5, 0.1), None),
        (measured(0.5, 0.11, "hot"), "hot: exponent 0.11 above 0.1 nats per step"),
        (measured(0.001, 0.11, "hot"), "hot"),
        ({"verdict": "diverged"}, "diverged"),
        (measured(0.0, 0.0, "dead"), "dead"),
        ({}, None),
        ({"exponent": 0.05, "verdict": "edge"}, None),
        ({"loss_fall": 0.001}, "slow"),
    ],
)
def test_slow_hot_dead_and_diverged_trials_are_pruned(trial: Trial, reason: str | None) -> None:
    decision = decided([], trial)
    assert (decision is not None and decision.pruned) == (reason is not None)
    if decision is not None:
        assert decision.reason.startswith(reason)


@pytest.mark.parametrize(
    ("slow", "wanted"), [(0.0, "it must not rise"), (-0.1, "it may rise by 10.00% at most")]
)
def test_limits_that_let_a_loss_rise_are_said_as_such(slow: float, wanted: str) -> None:
    decision = decided([], measured(-0.2), slow=slow)
    assert decision is not None
    assert decision.reason.endswith(f"the loss rose by 20.00% of its first value, where {wanted}")


def test_a_decision_has_its_numbers() -> None:
    decision = decided([], measured(0.01, 0.02), slow=0.03, hot=0.2)
    assert decision is not None
    assert decision.numbers == {"loss_fall": 0.01, "slow": 0.03, "exponent": 0.02, "hot": 0.2}


@pytest.mark.parametrize(
    ("trial", "limits"),
    [
        (measured(0.0), {"slow": None}),
        (measured(0.5, 5.0, "hot"), {"hot": None}),
        (measured(0.5, 0.0, "dead"), {"dead": False}),
    ],
)
def test_what_is_switched_off_prunes_nothing(trial: Trial, limits: dict[str, Any]) -> None:
    assert decided([], trial, **limits) is None


TEN = [measured(0.001 + k / 10_000) for k in range(10)]  # falls up to .0019


def test_after_ten_in_a_row_the_next_that_is_no_worse_passes_and_says_so() -> None:
    assert is_pruned(TEN[:9], measured(0.003))
    assert is_pruned(TEN, measured(0.0018))
    decision = decided(TEN, measured(0.0019))
    assert decision is not None
    assert not decision.pruned
    assert decision.reason.endswith("passes, since 10 in a row were no better")


def test_the_row_begins_anew_after_one_has_passed() -> None:
    row = [*TEN, measured(0.003)]
    assert is_pruned(row, measured(0.004))
    assert is_pruned([*row, *TEN[:9]], measured(0.004))
    assert not is_pruned([*row, *TEN], measured(0.004))


def test_a_good_trial_ends_the_row() -> None:
    assert is_pruned([*TEN[:5], measured(0.5), *TEN[5:]], measured(0.004))


def test_failed_and_diverged_trials_count_neither_way() -> None:
    between = [{"verdict": "failed"}, {"verdict": "diverged"}, {}, {"verdict": "dead"}]
    row = [trial for pair in zip(TEN, [*between] * 3, strict=False) for trial in pair]
    assert not is_pruned(row, measured(0.003))
    assert is_pruned(TEN, {"verdict": "diverged"})
    assert is_pruned(TEN, measured(0.0, 0.0, "dead"))


def test_hot_trials_pass_after_ten_hot_ones_by_the_fall_of_their_loss() -> None:
    hot = [measured(0.3, 0.4, "hot")] * 10
    assert is_pruned(hot, measured(0.2, 0.2, "hot"))
    assert not is_pruned(hot, measured(0.3, 0.4, "hot"))


TRIALS = st.builds(measured, st.floats(-1, 1), st.floats(-0.5, 0.5))


@settings(max_examples=30, deadline=None)
@given(st.lists(TRIALS, max_size=30), TRIALS)
def test_a_decision_follows_from_attributes_alone_and_is_the_same_when_asked_again(
    before: list[Trial], trial: Trial
) -> None:
    study = study_of([*before, trial, measured(0.9)])
    pruner = LyapunovPruner()
    frozen = study.trials[len(before)]
    assert pruner.decide(study, frozen) == pruner.decide(study, frozen)
    assert pruner.decide(study, frozen) == decided(before, trial)


@settings(max_examples=30, deadline=None)
@given(TRIALS, st.floats(-1, 0.9), st.floats(-1, 0.9), st.floats(0.01, 1), st.floats(0.01, 1))
def test_stricter_limits_prune_whatever_milder_ones_do(
    trial: Trial, slow: float, slower: float, hot: float, hotter: float
) -> None:
    mild = {"slow": min(slow, slower), "hot": max(hot, hotter)}
    strict = {"slow": max(slow, slower), "hot": min(hot, hotter)}
    if is_pruned([], trial, **mild):
        assert is_pruned([], trial, **strict)


@settings(max_examples=20, deadline=None)
@given(st.lists(TRIALS, min_size=40, max_size=40))
def test_it_never_prunes_everything(trials: list[Trial]) -> None:
    best = [measured(0.004, 0.0)] * len(trials)  # all slow, none worse than the others
    study = study_of([*trials, *best])
    pruner = LyapunovPruner()
    verdicts = [pruner.decide(study, trial) for trial in study.trials]
    passed = [each is None or not each.pruned for each in verdicts]
    assert any(passed[len(trials) :])
