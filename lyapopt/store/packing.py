"""Series of a run as rows of two tables: pieces (`TRAJECTORIES`), packed into blocks (`BLOCKS`)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lyapopt.store.codec import decode, encode
from lyapopt.store.damage import decoding
from lyapopt.store.errors import DamagedDataError
from lyapopt.store.records import TrajectoryRecord

PIECE_BYTES: Final = 512 * 1024
"""Most bytes of numbers in a piece: a MySQL server takes packets of 1 MiB at the least."""
BLOCK_BYTES: Final = 64 * 1024
"""A block is closed once it holds this much: enough to waste little of a page, not much to read."""

Row = dict[str, Any]


class Piece(NamedTuple):
    """One piece as it is read: the columns of `TRAJECTORIES` that matter, and its bytes.

    `data` is what the driver gives of them, and None where their block is missing.
    """

    name: str
    part: str
    n_values: int
    dtype: str
    shape_json: str
    codec: str
    data: bytes | str | None


@dataclass
class _Packer:
    """Puts compressed pieces one after the other into blocks."""

    run: str
    blocks: list[bytearray]

    def place(self, data: bytes) -> Row:
        if not self.blocks or len(self.blocks[-1]) + len(data) > BLOCK_BYTES:
            self.blocks.append(bytearray())
        block = self.blocks[-1]
        offset = len(block)
        block += data
        return {"block": len(self.blocks) - 1, "byte_offset": offset, "byte_length": len(data)}

    def rows(self) -> list[Row]:
        return [
            {"run": self.run, "block": number, "data": bytes(data)}
            for number, data in enumerate(self.blocks)
        ]


def pack(run: str, trajectories: Sequence[TrajectoryRecord]) -> tuple[list[Row], list[Row]]:
    """Rows of `TRAJECTORIES` and of `BLOCKS` that hold the series of a run.

    Args:
        run: Identifier of the run.
        trajectories: Its series.

    Returns:
        Rows for `lyapopt_trajectory`, and rows for `lyapopt_block`.
    """
    packer = _Packer(run, [])
    rows: list[Row] = []
    for position, record in enumerate(trajectories):
        parts = {"values": record.values}
        if record.steps is not None:
            parts["steps"] = record.steps
        for part, array in parts.items():
            key = {"run": run, "position": position, "name": record.name, "part": part}
            rows += [key | row for row in _pieces(array, packer)]
    return rows, packer.rows()


def _pieces(array: NDArray[np.generic], packer: _Packer) -> Iterator[Row]:
    flat, row_size = array.reshape(-1), _row_size(array.shape)
    limit = PIECE_BYTES // array.dtype.itemsize
    count = limit // row_size * row_size or limit  # whole rows, unless one alone is too large
    common = {
        "dtype": array.dtype.newbyteorder("<").str,
        "shape_json": json.dumps(array.shape),
    }
    for chunk, first in enumerate(range(0, max(flat.size, 1), count)):
        piece = flat[first : first + count]
        codec, data = encode(piece.reshape(_layout(piece.size, row_size)))
        yield {
            "chunk": chunk,
            "first_value": first,
            "n_values": piece.size,
            "codec": codec,
            **common,
            **packer.place(data),
        }


def _row_size(shape: Sequence[int]) -> int:
    return max(math.prod(shape[1:]), 1)


def _layout(n_values: int, row_size: int) -> tuple[int, int]:
    """Rows and components of a piece; part of a row counts as a row of its own."""
    return (n_values // row_size, row_size) if n_values % row_size == 0 else (1, n_values)


def join_pieces(pieces: Sequence[Piece]) -> NDArray[np.generic]:
    """The array that was cut into these pieces, all of one part of one series, in order.

    Raises:
        DamagedDataError: If pieces are missing or cannot be decoded.
    """
    what = f"{pieces[0].part} of {pieces[0].name!r}"
    with decoding(what):
        shape = tuple(json.loads(pieces[0].shape_json))
        dtype, row_size = np.dtype(pieces[0].dtype), _row_size(shape)
        whole = np.concatenate([_numbers(piece, dtype, row_size) for piece in pieces])
        if whole.size != math.prod(shape):
            raise DamagedDataError(
                f"{what} has {whole.size} of the {math.prod(shape)} numbers of its shape {shape}"
            )
        return whole.reshape(shape)


def _numbers(piece: Piece, dtype: np.dtype[np.generic], row_size: int) -> NDArray[np.generic]:
    data, layout = _bytes(piece), _layout(piece.n_values, row_size)
    try:
        return decode(piece.codec, data, dtype, layout).reshape(-1)
    except DamagedDataError as error:
        raise DamagedDataError(f"{piece.part} of {piece.name!r}: {error}") from error


def _bytes(piece: Piece) -> bytes:
    if piece.data is None:
        raise DamagedDataError(f"{piece.part} of {piece.name!r}: the block it lies in is missing")
    if isinstance(piece.data, str):
        if piece.data:
            raise DamagedDataError(f"{piece.part} of {piece.name!r} is a text and not bytes")
        return b""  # SQLite cuts an empty text out of a blob
    return bytes(piece.data)


Parts = Mapping[str, Sequence[Piece]]
"""The pieces of one series: of `values`, and of `steps` where they are stored."""


def by_series(pieces: Iterable[Piece]) -> dict[str, Parts]:
    """The parts of each series of one run, from its pieces ordered by position, part and chunk."""
    grouped: dict[str, dict[str, list[Piece]]] = {}
    for piece in pieces:
        grouped.setdefault(piece.name, {}).setdefault(piece.part, []).append(piece)
    return dict(grouped)


def join_parts(name: str, parts: Parts) -> TrajectoryRecord:
    """One series of one run.

    Raises:
        DamagedDataError: If parts or pieces are missing or cannot be decoded.
    """
    if "values" not in parts:
        raise DamagedDataError(f"the values of {name!r} are missing")
    with decoding(f"series {name!r}"):
        steps = join_pieces(parts["steps"]).astype(np.int64) if "steps" in parts else None
        return TrajectoryRecord(name, join_pieces(parts["values"]), steps)


def unpack(pieces: Iterable[Piece]) -> list[TrajectoryRecord]:
    """The series of one run, from its pieces ordered by position, part and chunk."""
    return [join_parts(name, parts) for name, parts in by_series(pieces).items()]
