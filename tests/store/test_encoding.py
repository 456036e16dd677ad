import json
import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lyapopt.store.encoding import from_json, join_float, split_float, to_json, to_text


@given(st.none() | st.floats(allow_nan=False))
def test_numbers_come_back_as_what_they_were(value):
    assert join_float(*split_float(value)) == value


def test_nan_comes_back_as_nan_and_not_as_missing():
    assert math.isnan(join_float(*split_float(math.nan)))


@given(st.none() | st.floats())
def test_no_column_holds_what_mysql_refuses(value):
    stored, _ = split_float(value)
    assert stored is None or math.isfinite(stored)


def _refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def test_json_with_infinities_is_still_json_for_others():
    text = to_json({"exponent": -math.inf, "list": [math.nan, 1]})
    json.loads(text, parse_constant=_refuse)
    back = from_json(text)
    assert back["exponent"] == -math.inf
    assert math.isnan(back["list"][0])


def test_numpy_numbers_and_tuples_become_plain_json():
    values = {"a": np.float32(0.5), "b": np.int64(3), "c": (1, 2), "d": np.arange(2), "e": None}
    assert from_json(to_json(values)) == {"a": 0.5, "b": 3, "c": [1, 2], "d": [0, 1], "e": None}


def test_a_string_that_says_nan_stays_a_string():
    assert from_json(to_json({"nan": "nan"})) == {"nan": "nan"}


def test_other_objects_are_kept_as_their_text(tmp_path):
    assert from_json(to_json({"path": tmp_path})) == {"path": str(tmp_path)}


def test_text_loses_only_what_no_database_takes():
    assert to_text("grün\x00\udcff") == "grün?"
