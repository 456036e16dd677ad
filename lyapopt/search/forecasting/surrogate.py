"""A tree ensemble that says how wrong it is."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

_KEPT = 64  # surrogates
_EVERY_TRIAL = 50
_STEP = 1.1


@dataclass(frozen=True)
class Forecast:
    """A distribution of the final value, as a sample of it.

    Attributes:
        sample: The prediction plus every error that was made on the study's own trials.
    """

    sample: Numbers

    @property
    def median(self) -> float:
        """The forecast in one number."""
        return float(np.median(self.sample))

    def probability_below(self, threshold: float) -> float:
        """Probability that the value is at most `threshold`: never below 1 / (n + 1).

        With as few errors as it has seen, the surrogate cannot claim more: this is what keeps a
        rule from acting before the forecast is calibrated (a conformal predictive distribution,
        Vovk et al. 2019).

        Example:
            >>> Forecast(np.array([1.0, 2.0, 3.0])).probability_below(0.5)
            0.25
        """
        below = int((self.sample <= threshold).sum())
        return (below + 1) / (len(self.sample) + 1)

    def expected_improvement(self, best: float) -> float:
        """Mean of how far the value falls below `best`."""
        return float(np.maximum(best - self.sample, 0.0).mean())


class Surrogate:
    """Extremely randomised trees from features to final values, with errors of their own.

    The trees are grown on bootstrap samples, so that every trial is judged by the trees that have
    not seen it.

    Args:
        features: `(trials, features)`.
        values: Final values, lower is better, `(trials,)`; at least 5, and finite.
        seed: Seed of the trees.

    Attributes:
        errors: Errors on trials that the trees had not seen, `(trials,)`.

    Source: Geurts, Ernst & Wehenkel, Machine Learning 63 (2006) 3-42; Breiman, Machine Learning 24
        (1996) 123-140, for errors out of the bag.
    """

    def __init__(self, features: Numbers, values: Numbers, seed: int = 0) -> None:
        from sklearn.ensemble import ExtraTreesRegressor  # slow to import, and few studies fit

        forest = ExtraTreesRegressor(
            n_estimators=64,
            min_samples_leaf=2,
            max_features=0.7,
            random_state=seed,
            bootstrap=True,
            oob_score=True,
        )
        with np.errstate(all="ignore"):  # R squared, which nobody reads, of losses beyond 1e154
            forest.fit(features, values)
        self._trees = [tree.tree_ for tree in forest.estimators_]
        self.errors: Numbers = values - forest.oob_prediction_

    def forecast(self, features: Numbers) -> list[Forecast]:
        """One forecast a row."""
        return [Forecast(mean + self.errors) for mean in _mean(self._trees, features)]


def _mean(trees: list[Any], features: Numbers) -> Numbers:
    """What `ExtraTreesRegressor.predict` gives, without its 10 ms of bookkeeping."""
    rows = np.ascontiguousarray(features, dtype=np.float32)
    mean: Numbers = np.mean([tree.predict(rows)[:, 0] for tree in trees], axis=0)
    return mean


class Fits:
    """The surrogates that were asked for last, by what they were fitted to."""

    def __init__(self) -> None:
        self._fitted: OrderedDict[Hashable, Surrogate] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, fit: Callable[[], Surrogate]) -> Surrogate:
        """The surrogate of a key, fitted if it is not there."""
        with self._lock:
            known = self._fitted.get(key)
        known = known or fit()
        with self._lock:
            self._fitted[key] = known
            self._fitted.move_to_end(key)
            while len(self._fitted) > _KEPT:
                self._fitted.popitem(last=False)
        return known

    def __reduce__(self) -> tuple[type[Fits], tuple[()]]:
        return Fits, ()  # a pickle leaves them behind


def fitted_on(count: int) -> int:
    """On how many of `count` trials a surrogate is fitted.

    Anew for every trial up to the fiftieth, and then whenever there is a tenth more of them.

    Example:
        >>> [fitted_on(count) for count in (10, 50, 54, 55, 1000)]
        [10, 50, 50, 55, 972]
    """
    fitted = min(count, _EVERY_TRIAL)
    while fitted >= _EVERY_TRIAL and math.floor(fitted * _STEP) <= count:
        fitted = math.floor(fitted * _STEP)
    return fitted
