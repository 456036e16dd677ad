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
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    DateTime,
    Dialect,
    Double,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Text,
    TypeDecorator,
)
from sqlalchemy.dialects import mysql
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeEngine

TABLE_PREFIX: Final = "lyapopt_"
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
        kind = mysql.DATETIME(fsp=6) if dialect.name in _MYSQL else DateTime()
        return dialect.type_descriptor(kind)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC."""
        return value if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """From UTC."""
        return value if value is None else value.replace(tzinfo=UTC)


_RunId = _binary_string(36)
_Name = _binary_string(255)
_LongText = Text().with_variant(mysql.LONGTEXT(), *_MYSQL)  # TEXT of MySQL ends at 64 KiB
_LongBlob = LargeBinary().with_variant(mysql.LONGBLOB(), *_MYSQL)


class Base(DeclarativeBase):
    """Base of our tables, with metadata of their own."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
        }
    )
    __table_args__: Any = {"mysql_charset": "utf8mb4", "mariadb_charset": "utf8mb4"}  # noqa: RUF012


def _run_key() -> Mapped[str]:
    target = ForeignKey("lyapopt_run.run", ondelete="CASCADE")
    return mapped_column(_RunId, target, primary_key=True)


class Run(Base):
    """Header of one run of one trial."""

    __tablename__ = "lyapopt_run"
    run: Mapped[str] = mapped_column(_RunId, primary_key=True)
    study_name: Mapped[str] = mapped_column(String(512))
    trial_number: Mapped[int]
    logical_number: Mapped[int | None]
    state: Mapped[str] = mapped_column(String(16))
    values_json: Mapped[str | None] = mapped_column(_LongText)
    verdict: Mapped[str | None] = mapped_column(String(64))
    reason: Mapped[str | None] = mapped_column(_LongText)
    steps: Mapped[int] = mapped_column(BigInteger)
    gradient_evaluations: Mapped[float] = mapped_column(Double)
    examples: Mapped[int] = mapped_column(BigInteger)
    seed: Mapped[int] = mapped_column(BigInteger)
    started_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    finished_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    recorded_at: Mapped[datetime] = mapped_column(UtcDateTime)
    versions_json: Mapped[str] = mapped_column(_LongText)
    settings_json: Mapped[str] = mapped_column(_LongText)


class Exponent(Base):
    """One exponent of a run. A number that is not finite is NULL, and its kind says which."""

    __tablename__ = "lyapopt_exponent"
    run: Mapped[str] = _run_key()
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(_Name)
    value: Mapped[float | None] = mapped_column(Double)
    value_kind: Mapped[str | None] = mapped_column(String(8))
    low: Mapped[float | None] = mapped_column(Double)
    low_kind: Mapped[str | None] = mapped_column(String(8))
    high: Mapped[float | None] = mapped_column(Double)
    high_kind: Mapped[str | None] = mapped_column(String(8))
    level: Mapped[float | None] = mapped_column(Double)
    estimand: Mapped[str | None] = mapped_column(String(255))
    unit: Mapped[str] = mapped_column(String(32))
    per: Mapped[str] = mapped_column(String(32))
    horizon: Mapped[int | None] = mapped_column(BigInteger)
    neighbours: Mapped[int | None]
    radius: Mapped[float | None] = mapped_column(Double)
    segment: Mapped[int | None] = mapped_column(BigInteger)
    burn_in: Mapped[int] = mapped_column(BigInteger)
    distance: Mapped[str | None] = mapped_column(String(255))
    estimator: Mapped[str | None] = mapped_column(String(255))
    flags_json: Mapped[str] = mapped_column(_LongText)
    details_json: Mapped[str] = mapped_column(_LongText)


class Decision(Base):
    """What a rule decided about a run at one step."""

    __tablename__ = "lyapopt_decision"
    run: Mapped[str] = _run_key()
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    step: Mapped[int] = mapped_column(BigInteger)
    rule: Mapped[str] = mapped_column(String(255))
    pruned: Mapped[bool] = mapped_column(Boolean)
    reason: Mapped[str] = mapped_column(_LongText)
    numbers_json: Mapped[str] = mapped_column(_LongText)


class Trajectory(Base):
    """Where one piece of one series lies, and how to read it.

    A series is cut into pieces (`chunk`) of `n_values` numbers from `first_value` on, counted in
    the order of rows, `shape_json` being the shape of the whole. `part` is `values` or `steps`.
    """

    __tablename__ = "lyapopt_trajectory"
    run: Mapped[str] = _run_key()
    position: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    part: Mapped[str] = mapped_column(String(8), primary_key=True)
    chunk: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    name: Mapped[str] = mapped_column(_Name)
    first_value: Mapped[int] = mapped_column(BigInteger)
    n_values: Mapped[int]
    dtype: Mapped[str] = mapped_column(String(8))
    shape_json: Mapped[str] = mapped_column(String(255))
    codec: Mapped[str] = mapped_column(String(32))
    block: Mapped[int]
    byte_offset: Mapped[int]
    byte_length: Mapped[int]


class Block(Base):
    """Compressed pieces of series, one after the other."""

    __tablename__ = "lyapopt_block"
    run: Mapped[str] = _run_key()
    block: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    data: Mapped[bytes] = mapped_column(_LongBlob)


CHILDREN: Final[tuple[type[Base], ...]] = (Exponent, Decision, Trajectory, Block)
"""The tables that hang on `Run`, in the order in which they are written."""
