"""Our tables, beside Optuna's.

Everything hangs on the uuid of a run. There is no foreign key into Optuna's tables: its
`delete_study` would fail in silence on PostgreSQL and MySQL, a cascade would destroy our rows when
the dashboard renames a study (it copies to new ids and deletes the old ones), and SQLite gives the
ids of deleted trials to new ones.

Compressed series are not one blob a row. Loss curves and the like compress to about half a page
of SQLite or a little more, and SQLite puts no two rows of more than half a page on one page, so
that half of the file would be air. Pieces of series are therefore packed into blocks
(`lyapopt_block`), and a row of `lyapopt_trajectory` says where its piece lies; SQL's SUBSTR cuts
it out, so that one series of a thousand trials is read without moving all the others.

The columns of runs, exponents and decisions have the names of the fields of their records, which
`rows` relies on. They are spelled out here and not derived from the records, since the tables of
a database stay what they are until a migration changes them.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.types import TypeEngine

_MYSQL: Final = ("mysql", "mariadb")


def _binary_string(length: int) -> TypeEngine[str]:
    """A string compared byte by byte: MySQL's usual collations take `Loss` for `loss`."""
    exact = mysql.VARCHAR(length, charset="utf8mb4", collation="utf8mb4_bin")
    return String(length).with_variant(exact, *_MYSQL)


class UtcDateTime(TypeDecorator[datetime]):
    """Moments with a time zone, kept as UTC without one, as Optuna does."""

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """DATETIME of MySQL has no fractions of seconds unless asked."""
        precise = mysql.DATETIME(fsp=6) if dialect.name in _MYSQL else DateTime()
        return dialect.type_descriptor(precise)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A moment as UTC without a time zone."""
        return value if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """A moment of UTC with its time zone."""
        return value if value is None else value.replace(tzinfo=UTC)


_RunId = _binary_string(36)
_Name = _binary_string(255)
_LongText = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)  # TEXT of MySQL ends at 64 KiB
_LongBlob = LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)

METADATA: Final = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
    }
)


def _table(name: str, *columns: Column[Any]) -> Table:
    return Table(name, METADATA, *columns, mysql_charset="utf8mb4", mariadb_charset="utf8mb4")


def _required(name: str, type_: TypeEngine[Any] | type[TypeEngine[Any]]) -> Column[Any]:
    return Column(name, type_, nullable=False)


def _key(name: str) -> Column[Any]:
    return Column(name, Integer, primary_key=True, autoincrement=False)


def _table_of_run(name: str, *columns: Column[Any]) -> Table:
    run = Column("run", _RunId, ForeignKey("lyapopt_run.run", ondelete="CASCADE"), primary_key=True)
    return _table(name, run, *columns)


RUNS: Final = _table(
    "lyapopt_run",
    Column("run", _RunId, primary_key=True),
    _required("study_name", String(512)),
    _required("trial_number", Integer),
    Column("logical_number", Integer),
    _required("state", String(16)),
    Column("values_json", _LongText),
    Column("verdict", String(64)),
    Column("reason", _LongText),
    _required("steps", BigInteger),
    _required("gradient_evaluations", Double),
    _required("examples", BigInteger),
    _required("seed", BigInteger),
    Column("started_at", UtcDateTime),
    Column("finished_at", UtcDateTime),
    _required("recorded_at", UtcDateTime),
    _required("versions_json", _LongText),
    _required("settings_json", _LongText),
)
"""Headers of the runs of trials."""

EXPONENTS: Final = _table_of_run(
    "lyapopt_exponent",
    _key("position"),
    _required("name", _Name),
    Column("value", Double),
    Column("value_kind", String(8)),
    Column("low", Double),
    Column("low_kind", String(8)),
    Column("high", Double),
    Column("high_kind", String(8)),
    Column("level", Double),
    Column("estimand", String(255)),
    _required("unit", String(32)),
    _required("per", String(32)),
    Column("horizon", BigInteger),
    Column("neighbours", Integer),
    Column("radius", Double),
    Column("segment", BigInteger),
    _required("burn_in", BigInteger),
    Column("distance", String(255)),
    Column("estimator", String(255)),
    _required("flags_json", _LongText),
    _required("details_json", _LongText),
)
"""Exponents of runs. A number that is not finite is NULL, and its `_kind` says which."""

DECISIONS: Final = _table_of_run(
    "lyapopt_decision",
    _key("position"),
    _required("step", BigInteger),
    _required("rule", String(255)),
    _required("pruned", Boolean),
    _required("reason", _LongText),
    _required("numbers_json", _LongText),
)
"""What rules decided about runs."""

TRAJECTORIES: Final = _table_of_run(
    "lyapopt_trajectory",
    _key("position"),
    Column("part", String(8), primary_key=True),
    _key("chunk"),
    _required("name", _Name),
    _required("first_value", BigInteger),
    _required("n_values", Integer),
    _required("dtype", String(8)),
    _required("shape_json", String(255)),
    _required("codec", String(32)),
    _required("block", Integer),
    _required("byte_offset", Integer),
    _required("byte_length", Integer),
)
"""Where the pieces of series lie, and how to read them.

A series is cut into pieces (`chunk`) of `n_values` numbers from `first_value` on, counted in the
order of rows, `shape_json` being the shape of the whole. `part` is `values` or `steps`.
"""

BLOCKS: Final = _table_of_run("lyapopt_block", _key("block"), _required("data", _LongBlob))
"""Compressed pieces of series, one after the other."""

CHILDREN: Final = (EXPONENTS, DECISIONS, TRAJECTORIES, BLOCKS)
"""The tables that hang on `RUNS`, in the order in which they are written."""
