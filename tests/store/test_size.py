import numpy as np
import pytest

from lyapopt.store import TrajectoryRecord, TrajectoryStore


def _losses(rng):
    decay = np.exp(-np.arange(600) / rng.uniform(50, 200))
    return (0.25 + decay * (1 + 0.1 * rng.standard_normal(600))).astype(np.float32)


def _noise(rng):
    return rng.standard_normal(600).astype(np.float32)


@pytest.mark.parametrize("curve", [_losses, _noise])
@pytest.mark.parametrize("together", [True, False], ids=["one array", "17 series"])
def test_a_trial_takes_at_most_four_bytes_a_sample_of_the_file(
    sqlite_url, tmp_path, make_run, curve, together
):
    rng, path, trials = np.random.default_rng(0), tmp_path / "study.db", 50
    with TrajectoryStore(sqlite_url) as store:
        store.create_tables()
        before = path.stat().st_size
        for number in range(trials):
            curves = [curve(rng) for _ in range(17)]
            series = (
                [TrajectoryRecord("loss", np.stack(curves, axis=1))]
                if together
                else [TrajectoryRecord(f"loss{i}", curve) for i, curve in enumerate(curves)]
            )
            store.record(make_run(trial_number=number, trajectories=tuple(series)))
    assert (path.stat().st_size - before) / (trials * 600 * 17) <= 4.0
