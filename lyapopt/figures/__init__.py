"""Tables of numbers to plotly figures, nothing else.

Each figure is a function of tables, with the collecting of its numbers apart from the drawing of
them (`collect` and `draw` in its module), so that tests check numbers. `FIGURES` has those of a
study by name: `StudyData.figures`, pages and dashboard files draw by it. The others compare methods
and settings, and belong to the benchmark.

A table may lack columns and hold what is no number: then a figure says what is missing.
"""

from lyapopt.figures.best_so_far import best_so_far
from lyapopt.figures.claim_map import claim_map
from lyapopt.figures.comparisons import mean_rank, regret_against_compute
from lyapopt.figures.decisions_over_time import decisions_over_time
from lyapopt.figures.exponent_against_loss import exponent_against_loss
from lyapopt.figures.exponent_against_rate import exponent_against_rate
from lyapopt.figures.exponent_curves import exponent_curves
from lyapopt.figures.images import png, save
from lyapopt.figures.loss_trajectories import loss_trajectories
from lyapopt.figures.parameter_importances import parameter_importances
from lyapopt.figures.registry import FIGURES, FigureSpec
from lyapopt.figures.separations import separations
from lyapopt.figures.signal_against_cost import signal_against_cost
from lyapopt.figures.signal_correlations import signal_correlations
from lyapopt.figures.spectrum_over_time import spectrum_over_time
from lyapopt.figures.steering_path import steering_path
from lyapopt.figures.tables import activation_table, number_table
from lyapopt.figures.trainability_map import trainability_map
from lyapopt.figures.trial_losses import trial_losses
from lyapopt.figures.weight_trajectories import weight_trajectories

__all__ = [
    "FIGURES",
    "FigureSpec",
    "activation_table",
    "best_so_far",
    "claim_map",
    "decisions_over_time",
    "exponent_against_loss",
    "exponent_against_rate",
    "exponent_curves",
    "loss_trajectories",
    "mean_rank",
    "number_table",
    "parameter_importances",
    "png",
    "regret_against_compute",
    "save",
    "separations",
    "signal_against_cost",
    "signal_correlations",
    "spectrum_over_time",
    "steering_path",
    "trainability_map",
    "trial_losses",
    "weight_trajectories",
]
