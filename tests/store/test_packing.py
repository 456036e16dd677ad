import json

import numpy as np
import pytest

from lyapopt.store import DamagedDataError, TrajectoryRecord
from lyapopt.store.packing import BLOCK_BYTES, PIECE_BYTES, Piece, pack, unpack


def _read(rows, blocks):
    data = {block["block"]: block["data"] for block in blocks}
    for row in rows:
        start, size = row["byte_offset"], row["byte_length"]
        cut = data[row["block"]][start : start + size]
        yield Piece(
            *(row[name] for name in ("name", "part", "n_values", "dtype", "shape_json", "codec")),
            cut,
        )


@pytest.mark.parametrize(
    "values",
    [
        np.zeros(0, np.float32),
        np.zeros((0, 5)),
        np.zeros((5, 0)),
        np.ones((3, 2, 4), np.float16),
        np.array([True, False, True]),
        np.arange(7, dtype=">f8"),
        np.random.default_rng(0).standard_normal((400, 1000)),
        np.random.default_rng(0).standard_normal((2, 300_000)),
    ],
    ids=["empty", "no rows", "no columns", "cube", "bool", "big-endian", "pieces", "long rows"],
)
def test_series_of_any_shape_come_back(values):
    [back] = unpack(_read(*pack("run", [TrajectoryRecord("x", values)])))
    assert back.values.dtype == values.dtype.newbyteorder("<")
    assert back.steps is None
    np.testing.assert_array_equal(back.values, values)


def test_steps_come_back_with_their_series():
    record = TrajectoryRecord("loss", np.zeros(3), np.array([5, 1, 2**40]))
    [back] = unpack(_read(*pack("run", [record])))
    assert back.steps.tolist() == [5, 1, 2**40]
    assert back.steps.dtype == np.int64


def test_no_block_is_larger_than_a_packet_of_one_mebibyte():
    noise = np.random.default_rng(0).integers(0, 2**64, (2, 300_000), np.uint64)
    _, blocks = pack("run", [TrajectoryRecord("noise", noise)])
    assert max(len(block["data"]) for block in blocks) <= PIECE_BYTES < 2**20


def test_small_series_share_a_block():
    noise = np.random.default_rng(0).random((17, 600), np.float32)
    _, blocks = pack("run", [TrajectoryRecord(f"loss{i}", noise[i]) for i in range(17)])
    assert len(blocks) == 1
    assert len(blocks[0]["data"]) < BLOCK_BYTES


def test_a_missing_piece_is_noticed():
    noise = np.random.default_rng(0).standard_normal((400, 1000))
    pieces = list(_read(*pack("run", [TrajectoryRecord("weights", noise)])))
    with pytest.raises(DamagedDataError, match=r"'weights' has .* of the 400000 numbers"):
        unpack(pieces[:-1])


def test_pieces_hold_whole_rows_where_rows_are_short():
    noise = np.random.default_rng(0).standard_normal((400, 1000))
    rows, _ = pack("run", [TrajectoryRecord("weights", noise)])
    assert all(row["n_values"] % 1000 == 0 for row in rows)
    assert [row["first_value"] for row in rows] == [0, *np.cumsum([r["n_values"] for r in rows])][
        :-1
    ]
    assert json.loads(rows[0]["shape_json"]) == [400, 1000]
