"""Short-horizon measurement of many systems at once, and verdicts."""

from lyapopt.probe.measurement import Measurement
from lyapopt.probe.probe import Probe
from lyapopt.probe.verdicts import Verdict, VerdictRule

__all__ = ["Measurement", "Probe", "Verdict", "VerdictRule"]
