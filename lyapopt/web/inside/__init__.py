"""What a study shows within optuna-dashboard: a note, custom plots, a picture of each trial."""

from lyapopt.web.inside.pictures import artifact_folder
from lyapopt.web.inside.refresh import refresh_studies

__all__ = ["artifact_folder", "refresh_studies"]
