"""The searches of the benchmark as study files."""

from __future__ import annotations

from dataclasses import dataclass

_MEDIAN = "{name: median, n_startup_trials: 10, n_warmup_steps: 100}"
_PRUNER = f"{{name: lyapunov, wrapped: {_MEDIAN}}}"

_DIGITS = """\
task: {name: digits, model: mlp, hidden: [32, 32], steps: 600, batch_size: 64, optimizer: sgd}
search_space:
  activation: [linear, sigmoid, relu, tanh, gelu]
  lr: {type: float, low: 0.0005, high: 5.0, log: true}
  init_seed: {type: seed}
probe: {horizon: 20, neighbours: 1}
record: {weights: projection, projection_dim: 64, every: 10, neighbours: 1}
"""

_XOR = """\
task: {name: xor, hidden: 8, output: linear, steps: 300}
search_space:
  activation: [linear, sigmoid, relu]
  lr: {type: float, low: 0.001, high: 3.0, log: true}
  init_seed: {type: seed}
probe: {horizon: 10, neighbours: 1, radius: 1e-6}
record: {weights: full, every: 1, neighbours: 1}
"""

_SMALL = """\
task: {name: digits, model: mlp, hidden: [16], steps: 200, batch_size: 32, optimizer: sgd}
search_space:
  activation: [relu, tanh, gelu]
  lr: {type: float, low: 0.001, high: 10.0, log: true}
  init_seed: {type: seed}
"""

_OWN = """\
task: {build: "lyapopt.bench.speed.whole.own:build"}
search_space:
  lr: {type: float, low: 0.0001, high: 1.0, log: true}
  weight_decay: {type: float, low: 0.000001, high: 0.1, log: true}
"""

_CNN = """\
task: {name: digits, model: cnn, channels: [8, 16], steps: 300, batch_size: 64, optimizer: sgd}
search_space:
  activation: [relu, tanh, gelu]
  lr: {type: float, low: 0.001, high: 5.0, log: true}
  init_seed: {type: seed}
"""

_WIDE = """\
task: {name: digits, model: mlp, hidden: [960, 960], steps: 300, batch_size: 64, optimizer: sgd}
dtype: float32
search_space:
  activation: [relu, tanh]
  lr: {type: float, low: 0.001, high: 5.0, log: true}
  init_seed: {type: seed}
"""


_NOT_SLOWER = 1 / 1.1  # than the plain script, whose trials have no exponents


@dataclass(frozen=True)
class SearchCase:
    """A search that is run in both ways.

    Attributes:
        name: Its name in `plain`.
        what: What is searched, in words.
        trials: How many trials.
        body: What its study file says of task, space, probe and record.
        pruner: What its study file says of the pruner.
        target: How many times faster lyapopt is to be.
        rounds: How often it is run in both ways at most.
    """

    name: str
    what: str
    trials: int
    body: str
    pruner: str = _PRUNER
    target: float | None = None
    rounds: int = 3

    def study_file(self, database: str) -> str:
        """The text of the study file.

        Args:
            database: Path of the SQLite file.
        """
        return (
            f"version: 1\nstudy_name: {self.name}\nstorage: sqlite:///{database}\nseed: 0\n"
            f"{self.body}sampler: tpe\npruner: {self.pruner}\nn_trials: {self.trials}\n"
        )


SEARCHES = {
    "digits": SearchCase("digits", "100 trials of studies/digits.yaml", 100, _DIGITS, target=3),
    "xor": SearchCase(
        "xor",
        "60 trials of studies/xor.yaml",
        60,
        _XOR,
        "{name: lyapunov, patience: 4, wrapped: median}",
        target=2,
    ),
    "digits-small": SearchCase(
        "digits-small", "1,000 trials of digits-small", 1000, _SMALL, target=5, rounds=1
    ),
    "own": SearchCase(
        "own", "40 trials of a float32 module of a user's own", 40, _OWN, target=_NOT_SLOWER
    ),
    "cnn": SearchCase("cnn", "40 trials of a convolutional network", 40, _CNN, target=_NOT_SLOWER),
    "wide": SearchCase(
        "wide", "10 trials of a network of a million weights", 10, _WIDE, target=_NOT_SLOWER
    ),
    "four": SearchCase("digits", "4 trials of studies/digits.yaml", 4, _DIGITS),
}
