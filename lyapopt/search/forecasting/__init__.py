"""Forecasting final values from parameters, early losses and exponents."""

from lyapopt.search.forecasting.features import Observation, feature_table
from lyapopt.search.forecasting.fits import Fits, fitted_on
from lyapopt.search.forecasting.surrogate import Forecast, Surrogate

__all__ = ["Fits", "Forecast", "Observation", "Surrogate", "feature_table", "fitted_on"]
