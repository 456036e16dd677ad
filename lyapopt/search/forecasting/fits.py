"""Surrogates that are kept, since fitting one takes many times as long as asking it."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable

from lyapopt.search.forecasting.surrogate import Surrogate

_KEPT = 64
_EVERY_TRIAL = 50
_STEP = 1.1


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
