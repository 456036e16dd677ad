"""Memory grows with trajectories times weights, never with the square of the weights."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import resource, torch
from torch import nn
from lyapopt.dynamics import Training, TrainingMap
from lyapopt.exponents import from_neighbours, spectrum

model = nn.Sequential(nn.Linear(500, 1000), nn.Tanh(), nn.Linear(1000, 500)).double()
x = torch.randn(32, 500).double()
make = {{"sgd": torch.optim.SGD, "adam": torch.optim.Adam}}["{optimizer}"]
step = TrainingMap([Training(model, nn.MSELoss(), make(model.parameters(), lr=0.01), (x, x))])
z0 = step.initial_state()
assert step.weights(z0).shape[-1] > 1_000_000
from_neighbours(step, z0, 3, neighbours=4)
spectrum(step, z0, 3, k=4)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MiB
"""


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_a_million_weights_with_4_neighbours_and_4_tangents_fit_in_2_gib(optimizer):
    run = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(optimizer=optimizer)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(run.stdout.split()[-1]) < 2048
