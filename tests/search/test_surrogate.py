"""The tree ensemble behind forecasts: what it makes of losses of any size."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from lyapopt.search.forecasting.surrogate import Surrogate


@pytest.mark.parametrize("largest", [3, 40, 200, 300])
def test_huge_losses_are_fitted_without_a_warning(largest: int) -> None:
    draws = np.random.default_rng(0)
    features = draws.normal(size=(30, 4))
    values = 10 ** draws.uniform(-2, largest, 30)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        surrogate = Surrogate(features, values)
        forecasts = surrogate.forecast(features[:3])
    assert all(np.isfinite(forecast.median) for forecast in forecasts)
    assert surrogate.errors.shape == (30,)
