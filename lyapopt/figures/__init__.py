"""Tables of numbers to plotly figures, nothing else."""

from lyapopt.figures.activation_table import activation_table
from lyapopt.figures.claim_map import claim_map
from lyapopt.figures.exponent_against_loss import exponent_against_loss
from lyapopt.figures.exponent_against_rate import exponent_against_rate
from lyapopt.figures.exponent_curves import exponent_curves
from lyapopt.figures.mean_rank import mean_rank
from lyapopt.figures.number_table import number_table
from lyapopt.figures.regret_against_compute import regret_against_compute
from lyapopt.figures.signal_against_cost import signal_against_cost

__all__ = [
    "activation_table",
    "claim_map",
    "exponent_against_loss",
    "exponent_against_rate",
    "exponent_curves",
    "mean_rank",
    "number_table",
    "regret_against_compute",
    "signal_against_cost",
]
