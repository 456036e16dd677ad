"""Whatever is in a file: either a study or a `StudyFileError`, never another exception."""

from __future__ import annotations

import io
import random
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML
from study_texts import FULL, SMALL

from lyapopt.study.file import StudyFile, StudyFileError, load_study_file
from lyapopt.study.file.model import StudyFile as Model

KEYS = [
    *Model.model_fields,
    *("name", "type", "low", "high", "choices", "when", "lr", "optimizer", "base", "wrapped"),
    *("steps", "model", "horizon", "catch", "build", "kwargs", "call", "steer", "seed", "hidden"),
]
WORDS = ["float", "int", "categorical", "seed", "tpe", "grid", "edge-of-chaos", "lyapunov", "xor"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from([*WORDS, *KEYS, "a:b", "${X_}", "20m", "sqlite:///x.db", ""]),
    st.text(max_size=8),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=5)), inner, max_size=5),
    ),
    max_leaves=15,
)
QUICK = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def outcome(content: bytes, *overrides: str) -> StudyFile | StudyFileError:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "study.yaml"
        path.write_bytes(content)
        try:
            study = load_study_file(path, overrides)
        except StudyFileError as error:
            return refused_with_lines(error)
        assert len(study.digest()) == 16
        study.fixed_params()
        return study


def refused_with_lines(error: StudyFileError) -> StudyFileError:
    assert all(issue.mark is not None for issue in error.issues)
    return error


def dumped(data: Any) -> bytes:
    stream = io.BytesIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    return stream.getvalue()


def parsed(text: str) -> dict[str, Any]:
    data: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return data


def paths_of(data: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything inside a nested value."""
    items: Any = ()
    if isinstance(data, dict | list):
        items = data.items() if isinstance(data, dict) else enumerate(data)
    found = []
    for key, value in items:
        found += [(*path, key), *paths_of(value, (*path, key))]
    return found


@QUICK
@given(st.binary(max_size=60))
def test_random_bytes_are_no_study(content: bytes) -> None:
    error = outcome(content)
    assert isinstance(error, StudyFileError)
    assert error.issues
    assert str(error).strip()


@QUICK
@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=8))
def test_random_yaml_is_a_study_or_an_error(data: dict[str, Any]) -> None:
    outcome(dumped(data))


@settings(QUICK, max_examples=200)
@given(st.data())
def test_a_study_with_a_random_value_is_a_study_or_an_error(data: st.DataObject) -> None:
    load_with_random_values(data)


@pytest.mark.slow
@settings(QUICK, max_examples=5000)
@given(st.data())
def test_many_studies_with_random_values_are_studies_or_errors(data: st.DataObject) -> None:
    load_with_random_values(data)


def load_with_random_values(data: st.DataObject) -> None:
    study = parsed(data.draw(st.sampled_from([FULL, SMALL])))
    for _ in range(data.draw(st.integers(1, 3))):
        *holder_path, last = data.draw(st.sampled_from(paths_of(study)))
        holder = study
        for part in holder_path:
            holder = holder[part]
        holder[last] = data.draw(VALUES)
    outcome(dumped(study))


@QUICK
@given(st.integers(0, 2**32), st.sampled_from([FULL, SMALL]))
def test_a_study_with_random_characters_is_a_study_or_an_error(seed: int, text: str) -> None:
    generator = random.Random(seed)
    letters = list(text)
    for _ in range(generator.randint(1, 4)):
        at = generator.randrange(len(letters))
        change = generator.choice(["drop", "double", "replace", "newline"])
        new = {"drop": "", "double": letters[at] * 2, "newline": "\n"}.get(change)
        letters[at] = generator.choice("{}[]:,-#&*!|>'\"%@`\t \\?~0x$é") if new is None else new
    outcome("".join(letters).encode())


@QUICK
@given(st.text(max_size=12), st.sampled_from([*KEYS, "sampler.base.seed", "search_space.lr.low"]))
def test_a_random_override_is_a_study_or_an_error(text: str, key: str) -> None:
    outcome(SMALL.encode(), f"{key}={text}", text)
