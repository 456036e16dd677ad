"""Studies: `file` reads them, `run` runs them, `admin` looks after databases, `analysis` loads.

`file` needs neither torch nor Optuna nor SQL.
"""
