"""Built-in tasks in float32 are judged as their twins in float64."""

import numpy as np
import pytest
import torch

from lyapopt.probe import Probe
from lyapopt.tasks.builder import TaskBuilder

SLOW = [pytest.mark.slow, pytest.mark.ci]
OPTIMIZERS = [{"optimizer": "sgd"}, {"optimizer": "sgd", "momentum": 0.9}, {"optimizer": "adam"}]


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param([("xor", "mlp"), ("breast-cancer", "mlp"), ("diabetes", "mlp")], id="tables"),
        pytest.param(
            [("digits", model) for model in ("mlp", "cnn", "rnn", "gru", "transformer-tiny")],
            id="digits",
            marks=SLOW,
        ),
    ],
)
def test_at_least_95_percent_of_the_verdicts_are_the_same(cases: list[tuple[str, str]]) -> None:
    agree = []
    for task, model in cases:
        for options in OPTIMIZERS:
            narrow, wide = (
                Probe(horizon=20).measure(
                    [
                        TaskBuilder(task, {"model": model, **options}, dtype=dtype)(
                            {"lr": float(lr), "init_seed": 0}
                        )
                        for lr in np.geomspace(1e-4, 10, 9)
                    ]
                )
                for dtype in (torch.float32, torch.float64)
            )
            agree += [a.verdict == b.verdict for a, b in zip(narrow, wide, strict=True)]
            assert {m.dtype for m in narrow} == {"float64"}
    assert np.mean(agree) >= 0.95
