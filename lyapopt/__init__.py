"""Hyperparameter search for PyTorch on Optuna that looks at the dynamics of training.

Where to add what, in the order of the layers (imports go downwards only; the contracts are in
`pyproject.toml`):

    a command               cli/commands/, registered in cli/main.py
    a file that ships       studies/, dashboards/ (shipped.py finds them, MANIFEST.in packs them)
    a key of the study file study/file/model.py or study/file/sections.py; what reads it, study/run/
    a figure                figures/, exported by figures/__init__.py; of a study, also a row of
                            figures/registry.py: `StudyData.figures` and pages have it
    a sampler, a pruner     search/samplers/, search/pruners/; its name in files, registry.py
    a column of `trials`    store/trials.py; shown by cli/output.py and cli/trial_table.py
    a storage of trials     store/buffered/, which writes to Optuna's tables in bulk
    a database              store/engine.py, store/mutex.py; its URL, study/file/values.py
    a verdict               probe/verdicts.py
    a task, a model         tasks/catalogue.py, tasks/models.py
    a type of parameter     space.py
    an estimator            exponents/
    an optimizer            dynamics/update_rules/; its name in built-in tasks, tasks/optimizers.py
    a type of layer         dynamics/layers/

Names are imported when they are first used, so that `import lyapopt` costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from lyapopt.dynamics import Map, Training, TrainingMap
    from lyapopt.errors import UserError
    from lyapopt.exponents import Exponent, Spectrum, from_neighbours, from_tangents, spectrum
    from lyapopt.exponents.networks import training_exponent, training_spectrum
    from lyapopt.probe import Measurement, Probe, Verdict
    from lyapopt.search import (
        EdgeOfChaosSampler,
        LyapunovPruner,
        Objective,
        ScreeningSampler,
        SearchSpace,
        SeededSampler,
        enqueue_best,
        find_lr,
        steer,
        suggest_lr,
        watch,
    )
    from lyapopt.store import TrajectoryStore
    from lyapopt.store.buffered import BufferedStorage
    from lyapopt.study.analysis.data import StudyData, compare, load
    from lyapopt.study.file import load_study_file
    from lyapopt.study.run.runner import run_study

__all__ = [
    "BufferedStorage",
    "EdgeOfChaosSampler",
    "Exponent",
    "LyapunovPruner",
    "Map",
    "Measurement",
    "Objective",
    "Probe",
    "ScreeningSampler",
    "SearchSpace",
    "SeededSampler",
    "Spectrum",
    "StudyData",
    "Training",
    "TrainingMap",
    "TrajectoryStore",
    "UserError",
    "Verdict",
    "__version__",
    "compare",
    "enqueue_best",
    "find_lr",
    "from_neighbours",
    "from_tangents",
    "load",
    "load_study_file",
    "run_study",
    "spectrum",
    "steer",
    "suggest_lr",
    "training_exponent",
    "training_spectrum",
    "watch",
]

_HOMES = {
    "BufferedStorage": "lyapopt.store.buffered",
    "EdgeOfChaosSampler": "lyapopt.search",
    "ScreeningSampler": "lyapopt.search",
    "enqueue_best": "lyapopt.search.ranking",
    "find_lr": "lyapopt.search.steering.find_lr",
    "steer": "lyapopt.search.steering.one_network",
    "suggest_lr": "lyapopt.search.steering.own_loop",
    "Exponent": "lyapopt.exponents",
    "LyapunovPruner": "lyapopt.search",
    "Map": "lyapopt.dynamics",
    "Measurement": "lyapopt.probe",
    "Objective": "lyapopt.search",
    "Probe": "lyapopt.probe",
    "SearchSpace": "lyapopt.search",
    "SeededSampler": "lyapopt.search",
    "StudyData": "lyapopt.study.analysis.data",
    "Spectrum": "lyapopt.exponents",
    "Training": "lyapopt.dynamics",
    "TrainingMap": "lyapopt.dynamics",
    "TrajectoryStore": "lyapopt.store",
    "UserError": "lyapopt.errors",
    "Verdict": "lyapopt.probe",
    "from_neighbours": "lyapopt.exponents",
    "from_tangents": "lyapopt.exponents",
    "compare": "lyapopt.study.analysis.data",
    "load": "lyapopt.study.analysis.data",
    "load_study_file": "lyapopt.study.file",
    "run_study": "lyapopt.study.run.runner",
    "spectrum": "lyapopt.exponents",
    "training_exponent": "lyapopt.exponents.networks",
    "training_spectrum": "lyapopt.exponents.networks",
    "watch": "lyapopt.search.monitor",
}

# Each needs a library that may not be installed, so that `from lyapopt import *` leaves them out.
_CALLBACKS = {
    "LightningWatch": "lyapopt.search.callbacks.lightning",
    "SkorchWatch": "lyapopt.search.callbacks.skorch",
    "TransformersWatch": "lyapopt.search.callbacks.transformers",
}

_PACKAGES = ("exponents", "figures", "paper")  # that are public as a whole


def __getattr__(name: str) -> Any:
    if name in _PACKAGES:
        return importlib.import_module(f"lyapopt.{name}")
    home = _HOMES.get(name) or _CALLBACKS.get(name)
    if home is None:
        raise AttributeError(f"module 'lyapopt' has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
