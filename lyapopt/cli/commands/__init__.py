"""A file a command, called by its name: its options, and what it calls and prints.

`main` imports all of these files for `--help`, which answers in 0.2 s. So a command imports what it
works with when it is called: pydantic and the YAML parser (0.3 s), SQLAlchemy (0.4 s), and torch
and Optuna (3.5 s) would be paid for by `--help`, `validate` and `schema` too.
"""
