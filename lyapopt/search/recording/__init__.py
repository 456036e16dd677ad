"""What trials of a plain Optuna study leave in the study's own database.

- `destination`: where rows go, and what is said where they cannot go anywhere;
- `watched`: the run of a trial whose training a monitor watches.

Trials of a study file are written by `study.run`, a group at a time.
"""
