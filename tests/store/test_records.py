from datetime import datetime

import numpy as np
import pytest

from lyapopt.store import Decision, ExponentRecord, RunRecord, TrajectoryRecord, new_run_id


def test_every_run_id_is_new():
    assert len({new_run_id() for _ in range(100)}) == 100


def test_steps_must_be_as_many_as_values():
    with pytest.raises(ValueError, match="steps of trajectory 'loss' must be 3 integers"):
        TrajectoryRecord("loss", np.zeros(3), np.arange(2))


def test_steps_must_be_integers():
    with pytest.raises(ValueError, match="must be 3 integers"):
        TrajectoryRecord("loss", np.zeros(3), np.zeros(3))


@pytest.mark.parametrize("values", [np.array(["a"]), np.array([1j]), np.array([object()])])
def test_a_series_of_anything_but_numbers_is_refused(values):
    with pytest.raises(ValueError, match="must be floats, integers or booleans"):
        TrajectoryRecord("loss", values)


def test_a_single_number_is_no_series():
    with pytest.raises(ValueError, match="a single number"):
        TrajectoryRecord("loss", np.float64(1.0))


def test_a_list_of_numbers_is_taken_as_an_array():
    assert TrajectoryRecord("loss", [1.0, 2.0]).values.dtype == np.float64


def test_a_state_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="'done' is none of running, complete"):
        RunRecord(new_run_id(), "study", 0, "done")


def test_a_moment_without_time_zone_is_refused():
    with pytest.raises(ValueError, match="started_at has no time zone"):
        RunRecord(new_run_id(), "study", 0, "complete", started_at=datetime(2026, 1, 1))


def test_two_series_of_one_name_are_refused():
    loss = TrajectoryRecord("loss", np.zeros(3))
    with pytest.raises(ValueError, match="given twice: loss"):
        RunRecord(new_run_id(), "study", 0, "complete", trajectories=(loss, loss))


def test_two_exponents_of_one_name_are_refused():
    exponent = ExponentRecord("spectrum", 0.0)
    with pytest.raises(ValueError, match="given twice: spectrum"):
        RunRecord(new_run_id(), "study", 0, "complete", exponents=(exponent, exponent))


@pytest.mark.parametrize("seed", [2**63, -(2**63) - 1])
def test_a_seed_that_no_database_can_hold_is_refused(seed):
    with pytest.raises(ValueError, match="64 bits"):
        RunRecord(new_run_id(), "study", 0, "complete", seed=seed)


def test_a_cost_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="not a count"):
        RunRecord(new_run_id(), "study", 0, "complete", gradient_evaluations=float("nan"))


@pytest.mark.parametrize("run", ["", "x" * 37])
def test_a_run_without_a_proper_identifier_is_refused(run):
    with pytest.raises(ValueError, match="a run has 1 to 36 characters"):
        RunRecord(run, "study", 0, "complete")


def test_names_are_neither_empty_nor_endless():
    with pytest.raises(ValueError, match="1 to 255 characters"):
        TrajectoryRecord("", np.zeros(1))
    with pytest.raises(ValueError, match="1 to 255 characters"):
        Decision(0, "x" * 256, False)
