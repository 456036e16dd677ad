"""Methods of search at equal counted compute, replayed on tables through Optuna."""
