"""The first tables: runs, exponents, decisions, trajectories in blocks."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import mysql

revision = "1"
down_revision = None
branch_labels = None
depends_on = None

# The types are spelled out: a migration must not change when `tables.py` does.
_MYSQL = ("mysql", "mariadb")
_MOMENT = sa.DateTime().with_variant(mysql.DATETIME(fsp=6), *_MYSQL)
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(), *_MYSQL)
_BLOB = sa.LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


def _exact(length: int) -> Any:
    kind = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return sa.String(length).with_variant(kind, *_MYSQL)


def _table(name: str, *columns: Any) -> None:
    op.create_table(
        name, *columns, if_not_exists=True, mysql_charset="utf8mb4", mariadb_charset="utf8mb4"
    )


def _of_run(table: str, *key: str) -> tuple[Any, ...]:
    return (
        sa.Column("run", _exact(36), nullable=False),
        sa.PrimaryKeyConstraint("run", *key, name=f"pk_{table}"),
        sa.ForeignKeyConstraint(
            ["run"], ["lyapopt_run.run"], name=f"fk_{table}_run", ondelete="CASCADE"
        ),
    )


def _position(name: str = "position") -> Any:
    return sa.Column(name, sa.Integer(), nullable=False, autoincrement=False)


def upgrade() -> None:
    """Create the tables."""
    _table(
        "lyapopt_run",
        sa.Column("run", _exact(36), nullable=False),
        sa.Column("study_name", sa.String(512), nullable=False),
        sa.Column("trial_number", sa.Integer(), nullable=False),
        sa.Column("logical_number", sa.Integer()),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("values_json", _TEXT),
        sa.Column("verdict", sa.String(64)),
        sa.Column("reason", _TEXT),
        sa.Column("steps", sa.BigInteger(), nullable=False),
        sa.Column("gradient_evaluations", sa.Double(), nullable=False),
        sa.Column("examples", sa.BigInteger(), nullable=False),
        sa.Column("seed", sa.BigInteger(), nullable=False),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("recorded_at", _MOMENT, nullable=False),
        sa.Column("versions_json", _TEXT, nullable=False),
        sa.Column("settings_json", _TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run", name="pk_lyapopt_run"),
    )
    _table(
        "lyapopt_exponent",
        *_of_run("lyapopt_exponent", "position"),
        _position(),
        sa.Column("name", _exact(255), nullable=False),
        *(
            column
            for end in ("value", "low", "high")
            for column in (sa.Column(end, sa.Double()), sa.Column(f"{end}_kind", sa.String(8)))
        ),
        sa.Column("level", sa.Double()),
        sa.Column("estimand", sa.String(255)),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("per", sa.String(32), nullable=False),
        sa.Column("horizon", sa.BigInteger()),
        sa.Column("neighbours", sa.Integer()),
        sa.Column("radius", sa.Double()),
        sa.Column("segment", sa.BigInteger()),
        sa.Column("burn_in", sa.BigInteger(), nullable=False),
        sa.Column("distance", sa.String(255)),
        sa.Column("estimator", sa.String(255)),
        sa.Column("flags_json", _TEXT, nullable=False),
        sa.Column("details_json", _TEXT, nullable=False),
    )
    _table(
        "lyapopt_decision",
        *_of_run("lyapopt_decision", "position"),
        _position(),
        sa.Column("step", sa.BigInteger(), nullable=False),
        sa.Column("rule", sa.String(255), nullable=False),
        sa.Column("pruned", sa.Boolean(), nullable=False),
        sa.Column("reason", _TEXT, nullable=False),
        sa.Column("numbers_json", _TEXT, nullable=False),
    )
    _table(
        "lyapopt_trajectory",
        *_of_run("lyapopt_trajectory", "position", "part", "chunk"),
        _position(),
        sa.Column("part", sa.String(8), nullable=False),
        _position("chunk"),
        sa.Column("name", _exact(255), nullable=False),
        sa.Column("first_value", sa.BigInteger(), nullable=False),
        sa.Column("n_values", sa.Integer(), nullable=False),
        sa.Column("dtype", sa.String(8), nullable=False),
        sa.Column("shape_json", sa.String(255), nullable=False),
        sa.Column("codec", sa.String(32), nullable=False),
        sa.Column("block", sa.Integer(), nullable=False),
        sa.Column("byte_offset", sa.Integer(), nullable=False),
        sa.Column("byte_length", sa.Integer(), nullable=False),
    )
    _table(
        "lyapopt_block",
        *_of_run("lyapopt_block", "block"),
        _position("block"),
        sa.Column("data", _BLOB, nullable=False),
    )


def downgrade() -> None:
    """Remove the tables, and with them all that was recorded."""
    for name in ("block", "trajectory", "decision", "exponent", "run"):
        op.drop_table(f"lyapopt_{name}")
