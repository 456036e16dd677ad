"""Forecasting final values from parameters, early losses and exponents."""

from lyapopt.search.forecasting.features import Observation, feature_table
from lyapopt.search.forecasting.surrogate import Fits, Forecast, Surrogate, fitted_on

__all__ = ["Fits", "Forecast", "Observation", "Surrogate", "feature_table", "fitted_on"]
