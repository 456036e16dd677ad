"""`lyapopt bench studies`: the recommended study against plain Optuna, at equal gradients."""
