"""Alembic migrations of our tables. `lyapopt.store.schema` runs them; there is no env.py.

A new version is a file in `versions/` with the next number as its revision, the change of
`tables.py`, the new `HEAD` in `schema.py`, and a fixture database of the version before.
MySQL commits at every change of a table, so a migration must be able to run again after it was
interrupted.
"""
