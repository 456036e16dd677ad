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
    row = [measured(0.5), *TEN, measured(0.003)]
    assert is_pruned(row, measured(0.004))
    assert is_pruned([*row, *TEN[:9]], measured(0.004))
    assert not is_pruned([*row, *TEN], measured(0.004))


def test_where_no_trial_was_ever_within_the_limits_rows_of_five_and_then_of_three_do() -> None:
    row = [*TEN, measured(0.003)]
    assert is_pruned([*row, *TEN[:4]], measured(0.004))
    assert not is_pruned([*row, *TEN[:5]], measured(0.004))
    row += [*TEN[:5], measured(0.004)]
    assert is_pruned([*row, *TEN[:2]], measured(0.005))
    decision = decided([*row, *TEN[:3]], measured(0.005))
    assert decision is not None
    assert decision.reason.endswith("passes, since 3 in a row were no better")
    row += [*TEN[:3], measured(0.005)]
    assert is_pruned([*row, *TEN[:2]], measured(0.006))


def test_less_patience_lets_trials_pass_after_shorter_rows() -> None:
    study = study_of([measured(0.001 + k / 10_000) for k in range(12)])  # each better than before
    pruner = LyapunovPruner(patience=4)
    decisions = [pruner.decide(study, trial) for trial in study.trials]
    passed = [decision is not None and not decision.pruned for decision in decisions]
    assert passed == [*[False] * 4, True, False, False, True, False, True, False, True]
    assert is_pruned(TEN, measured(0.5 / 100), patience=10**400)
    row = [measured(0.5), *TEN[:4]]
    assert is_pruned(row[:-1], measured(0.004), patience=4)
    assert not is_pruned(row, measured(0.004), patience=4)
    assert is_pruned([*row, measured(0.004), *TEN[:3]], measured(0.005), patience=4)


def test_where_no_trial_was_ever_within_the_limits_no_more_than_thirty_are_pruned_in_a_row() -> (
    None
):
    ever_worse = [measured(0.005 - k / 10_000) for k in range(31)]
    study = study_of(ever_worse)
    decisions = [LyapunovPruner().decide(study, trial) for trial in study.trials]
    assert [d is not None and d.pruned for d in decisions] == [True] * 30 + [False]
    assert is_pruned([measured(0.5), *ever_worse[:-1]], ever_worse[-1])


def test_the_longer_it_takes_the_more_of_the_last_ten_may_be_better() -> None:
    assert is_pruned([*TEN, measured(0.0)], measured(0.0018))
    assert not is_pruned([*TEN, measured(0.0), measured(0.0)], measured(0.0018))
    assert is_pruned([measured(0.5), *TEN, measured(0.0), measured(0.0)], measured(0.0018))


def begun(first: float, late: float) -> Trial:
    """A trial by its first loss and the one after the probe."""
    return {**measured((first - late) / abs(first)), "initial_loss": first}


def test_a_network_is_slow_that_comes_down_to_where_the_others_begin_at_most() -> None:
    others = [begun(2.3, 2.0), begun(2.4, 2.1), begun(2.2, 1.9)]
    decision = decided(others, begun(20.0, 4.0))
    assert decision is not None
    assert decision.pruned
    assert decision.reason == (
        "slow: the loss fell by 80.00%, to 4, where networks of this study begin at 2.35"
    )
    assert decision.numbers["usual_first_loss"] == pytest.approx(2.35)
    assert is_pruned(others, begun(20.0, 2.34))
    assert not is_pruned(others, begun(20.0, 2.3))
    assert not is_pruned(others, begun(20.0, 4.0), slow=None)
    assert not is_pruned([begun(20.0, 19.0)], begun(20.0, 4.0))


def test_one_that_begins_below_the_others_has_to_fall_from_there() -> None:
    others = [begun(2.3, 2.0), begun(2.4, 2.1)]
    assert is_pruned(others, begun(1.0, 0.995))
    assert not is_pruned(others, begun(1.0, 0.9))


def test_losses_below_zero_are_compared_by_where_they_begin_too() -> None:
    others = [begun(-2.0, -3.0), begun(-2.0, -3.0)]
    assert is_pruned(others, begun(-1.0, -1.9))
    assert not is_pruned(others, begun(-1.0, -2.1))


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(0.1, 100), min_size=1, max_size=9),
    st.floats(0.1, 100),
    st.floats(-1, 0.99),
    st.floats(1e-3, 1e3),
)
def test_the_unit_of_a_loss_changes_no_decision(
    firsts: list[float], first: float, fall: float, unit: float
) -> None:
    def those(scale: float) -> tuple[list[Trial], Trial]:
        return [begun(scale * each, scale * each / 2) for each in firsts], {
            **measured(fall),
            "initial_loss": scale * first,
        }

    assert is_pruned(*those(1.0), slow=0.0123) == is_pruned(*those(unit), slow=0.0123)


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


def test_a_hot_trial_passes_whose_loss_falls_as_far_as_is_usual() -> None:
    within = [measured(fall, 0.05, "edge") for fall in (0.1, 0.2, 0.3)]
    cold = [measured(0.001)] * 5  # that tell nothing of how fast networks learn
    assert is_pruned([*within, *cold], measured(0.19, 0.2, "hot"))
    passed = decided([*within, *cold], measured(0.2, 0.2, "hot"))
    assert passed is not None
    assert not passed.pruned
    assert passed.reason.endswith("passes, since its loss fell as far as usual")
    assert passed.numbers["usual_fall"] == 0.2
    assert is_pruned(cold, measured(0.9, 0.2, "hot"))  # nothing is usual yet


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
def test_slow_trials_pass_once_one_of_them_has_trained_as_well_as_others(direction: str) -> None:
    sign = -1 if direction == "maximize" else 1

    def study(values: list[float], falls: list[float]) -> optuna.Study:
        found = optuna.create_study(direction=direction)
        for value, fall in zip(values, falls, strict=True):
            attributes = measured(fall)
            found.add_trial(optuna.create_trial(value=sign * value, user_attrs=attributes))
        found.add_trial(optuna.create_trial(state=TrialState.PRUNED, user_attrs=measured(0.0)))
        return found

    def is_stopped(found: optuna.Study) -> bool:
        decision = LyapunovPruner().decide(found, found.trials[-1])
        assert decision is not None
        return decision.pruned

    assert not is_stopped(study([1.0, 2.0, 3.0, 4.0], [0.5, 0.0, 0.5, 0.5]))
    assert is_stopped(study([1.0, 3.0, 2.0, 4.0], [0.5, 0.0, 0.5, 0.5]))  # in the worse half
    assert is_stopped(study([1.0, 2.0, 3.0], [0.0, 0.5, 0.5]))  # too few
    assert not is_stopped(study([1.0, 1.0, 1.0, 1.0], [0.0] * 4))


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
