"""Tables of numbers to plotly figures, nothing else."""

from lyapopt.figures.claim_map import claim_map
from lyapopt.figures.comparisons import mean_rank, regret_against_compute
from lyapopt.figures.exponent_against_loss import exponent_against_loss
from lyapopt.figures.exponent_against_rate import exponent_against_rate, exponent_curves
from lyapopt.figures.signal_against_cost import signal_against_cost
from lyapopt.figures.tables import activation_table, number_table

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
