"""Screening: probing many candidates and training one."""

from lyapopt.search.probing.records import SCREENING, ScreenedCandidate, ScreeningRecord
from lyapopt.search.screening.sampler import ScreeningSampler

__all__ = ["SCREENING", "ScreenedCandidate", "ScreeningRecord", "ScreeningSampler"]
