"""Short-horizon measurement of many systems at once, and verdicts."""

from lyapopt.probe.measurement import Measurement, same_values
from lyapopt.probe.probe import Probe
from lyapopt.probe.reference import Reference, reference_of
from lyapopt.probe.verdicts import Verdict, VerdictRule

__all__ = [
    "Measurement",
    "Probe",
    "Reference",
    "Verdict",
    "VerdictRule",
    "reference_of",
    "same_values",
]
