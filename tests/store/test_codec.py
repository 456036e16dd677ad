import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lyapopt.store.codec import RAW, decode, encode
from lyapopt.store.errors import DamagedDataError

NUMBERS = (
    hnp.floating_dtypes(sizes=(16, 32, 64))
    | hnp.integer_dtypes()
    | hnp.unsigned_integer_dtypes()
    | hnp.boolean_dtypes()
)


def _bits(array):
    return array.astype(array.dtype.newbyteorder("<")).tobytes()


@given(hnp.arrays(NUMBERS, hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=40)))
def test_every_array_comes_back_bit_by_bit(array):
    codec, data = encode(array)
    back = decode(codec, data, array.dtype.newbyteorder("<"), array.shape)
    assert back.shape == array.shape
    assert _bits(back) == _bits(array)


def test_nan_infinities_and_signed_zero_survive():
    array = np.array([[np.nan], [np.inf], [-np.inf], [-0.0], [5e-324], [-np.nan]] * 50)
    codec, data = encode(array)
    assert codec != RAW
    assert _bits(decode(codec, data, array.dtype, array.shape)) == _bits(array)


def test_arrays_that_are_not_contiguous_come_back():
    array = np.arange(60.0).reshape(6, 10)[::-1, ::3]
    codec, data = encode(array)
    np.testing.assert_array_equal(decode(codec, data, array.dtype, array.shape), array)


def test_differences_of_integers_may_overflow_and_still_come_back():
    array = np.array([[2**63 - 1], [-(2**63)], [0]] * 30, np.int64)
    codec, data = encode(array)
    np.testing.assert_array_equal(decode(codec, data, array.dtype, array.shape), array)


def test_even_steps_take_next_to_nothing():
    _, data = encode(np.arange(0, 1_000_000, 10, dtype=np.int64)[:, None])
    assert len(data) < 0.05 * 100_000


@pytest.mark.parametrize(
    ("noise", "most"), [(0.1, 3.0), (0.0, 3.0)], ids=["noisy losses", "smooth losses"]
)
def test_loss_curves_take_less_than_three_bytes_a_sample(noise, most):
    rng = np.random.default_rng(0)
    curve = 0.25 + np.exp(-np.arange(600) / 100) * (1 + noise * rng.standard_normal(600))
    _, data = encode(curve.astype(np.float32)[:, None])
    assert len(data) / 600 < most


def test_what_cannot_be_compressed_is_kept_as_it_is():
    array = np.random.default_rng(0).integers(0, 2**64, (3, 2), np.uint64)
    codec, data = encode(array)
    assert (codec, len(data)) == (RAW, array.nbytes)


@given(st.binary(max_size=50))
def test_damaged_bytes_are_an_error_that_says_so(data):
    with pytest.raises(DamagedDataError):
        decode("shuffle-zlib", data, np.dtype("<f4"), (600, 7))


def test_a_codec_of_the_future_is_named():
    with pytest.raises(DamagedDataError, match="unknown codec 'zstd'"):
        decode("zstd", b"", np.dtype("<f4"), (0, 1))
