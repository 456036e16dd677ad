"""A study file that uses every key, and how tests change it."""

from __future__ import annotations

FULL = """\
# yaml-language-server: $schema=./study.schema.json
version: 1
study_name: digits-mlp
storage: sqlite:///runs/digits.db
load_if_exists: true
seed: 0
direction: minimize

task: {name: digits, model: mlp, hidden: [32, 32], steps: 600, batch_size: 64, optimizer: sgd}

search_space:
  activation: {type: categorical, choices: [linear, sigmoid, relu, tanh, gelu]}
  lr:         {type: float, low: 1e-4, high: 3.0, log: true}
  init_seed:  {type: seed}
  momentum:   {type: float, low: 0.0, high: 0.99, when: {optimizer: sgd}}
  batch_size: 64

probe:   {horizon: 20, neighbours: 1, radius: 1e-6, distance: weights, estimator: neighbours}
value:   loss
promote: 0
rank_at: null
sampler: {name: edge-of-chaos, steer: lr, target: adaptive, base: {name: tpe, seed: 0}}
pruner:  {name: lyapunov, hot: 0.3, slow: null, wrapped: {name: median, n_warmup_steps: 1}}

n_trials: 100
timeout: 20m
budget:  {gradient_evaluations: 200000}
trials_at_once: 16
workers: 1
device: auto
dtype: float64
compile: auto
store: null
enqueue: [{activation: relu, lr: 0.1}]
on_failure: {catch: [RuntimeError], max_retries: 1, max_failures: 5, nan: prune}
record:  {every: 1, weights: projection, projection_dim: 64}
callbacks: [mypackage.callbacks:notify]
output:  {progress: auto, log_level: info}
"""

SMALL = """\
storage: sqlite:///runs/xor.db
task: {name: xor}
search_space:
  lr: {type: float, low: 0.1, high: 10, log: true}
  activation: [linear, sigmoid, relu]
n_trials: 60
"""


def replaced(text: str, old: str, new: str) -> str:
    """The text with one part replaced, which must be there exactly once."""
    assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in the text"
    return text.replace(old, new)
