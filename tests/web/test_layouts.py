"""Dashboard files: those that are shipped are right, and mistakes are said with their place."""

from __future__ import annotations

import io
import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from lyapopt.cli.main import app
from lyapopt.errors import UserError
from lyapopt.figures import FIGURES
from lyapopt.shipped import shipped
from lyapopt.study.file import StudyFileError
from lyapopt.web.layouts import Filter, Panel, find_layout, load_layout, shipped_layouts
from lyapopt.web.layouts.checks import KEYS
from lyapopt.web.layouts.schema import dashboard_schema_text


def test_the_shipped_dashboards_are_valid_and_have_every_figure_between_them() -> None:
    layouts = shipped_layouts()
    assert next(iter(layouts)) == "overview"
    assert {"overview", "paper", "pruning", "compare"} <= {*layouts}
    assert {panel.figure for each in layouts.values() for panel in each.panels} == {*FIGURES}
    assert layouts["compare"].several
    assert not layouts["overview"].several


def test_a_dashboard_says_figures_with_arguments_and_filters_with_choices(tmp_path: Path) -> None:
    text = """
title: Mine
filters: [activation, {name: state, only: [complete]}]
figures:
  - separations
  - {name: trainability_map, x: lr, wide: true}
  - {name: exponent_against_rate, limits: {hot: 0.2}}
"""
    (tmp_path / "mine.yaml").write_text(text)
    found = load_layout(tmp_path / "mine.yaml")
    assert (found.name, found.title) == ("mine", "Mine")
    assert found.filters == (Filter("activation"), Filter("state", ("complete",)))
    assert found.panels == (
        Panel("separations"),
        Panel("trainability_map", {"x": "lr"}, True),
        Panel("exponent_against_rate", {"limits": {"hot": 0.2}}),
    )


def test_every_mistake_is_said_at_once_with_its_place_and_what_was_meant(tmp_path: Path) -> None:
    text = """titel: Mine
studies: many
filters: [3, {name: state, onyl: [complete]}, verdict, verdict]
figures:
  - separation
  - {name: trainability_map, x: 3, z: lr}
  - {trial: 4}
  - {name: separations, trial: best}
"""
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    with pytest.raises(StudyFileError) as caught:
        load_layout(path)
    said = str(caught.value)
    for line, column, what in (
        (1, 1, "unknown key titel"),
        (2, 10, "expected one or several, got the string \"many\""),
        (3, 11, "expected what to filter by, got 3"),
        (3, 28, "unknown key onyl"),
        (3, 56, "the filter verdict is here twice"),
        (5, 5, "there is no figure the string \"separation\""),
        (6, 33, "expected a string, got 3"),
        (6, 36, "figure trainability_map has no argument z"),
        (7, 5, "`name` is missing"),
        (8, 32, "expected a whole number, got the string \"best\""),
    ):  # fmt: skip
        place = re.compile(rf"wrong\.yaml:{line}:{column}: \S+ ?{re.escape(what)}", re.M)
        assert place.search(said), (line, column, what, said)
    assert "did you mean title?" in said
    assert "did you mean separations?" in said
    assert "did you mean only?" in said
    assert "     | ^" in said
    assert len(caught.value.issues) == 10


@pytest.mark.parametrize(
    "text",
    [
        "figures: !mine [separations]",
        "%YAML 1.1\n---\nfigures: [x]",
        "figures: [x]\n---\nb: 1",
        "- 1",
    ],
)
def test_what_is_wrong_with_a_dashboard_is_not_said_of_a_study_file(
    text: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(StudyFileError) as caught:
        load_layout(tmp_path / "mine.yaml")
    assert "study file" not in str(caught.value)


KNOWN = [*KEYS, *FIGURES, "name", "wide", "only", "x", "trial", "limits", "group", "one", "several"]
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.sampled_from(KNOWN),
    st.text(max_size=6),
)
NESTED = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.one_of(st.sampled_from(KNOWN), st.text(max_size=4)), inner, max_size=4),
    ),
    max_leaves=12,
)


def read_or_refused(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        (path := Path(folder) / "any.yaml").write_bytes(content)
        marks = []
        try:
            load_layout(path)
        except StudyFileError as error:
            marks = [issue.mark for issue in error.issues]
        assert None not in marks


TREES = st.dictionaries(st.sampled_from([*KEYS]), NESTED, max_size=6)


@settings(max_examples=150, deadline=None)
@given(TREES)
def test_any_tree_is_a_dashboard_or_is_refused_with_a_line(data: dict[str, Any]) -> None:
    tree_read_or_refused(data)


@pytest.mark.slow
@settings(max_examples=5000, deadline=None)
@given(TREES)
def test_each_of_many_trees_is_a_dashboard_or_is_refused(data: dict[str, Any]) -> None:
    tree_read_or_refused(data)


def tree_read_or_refused(data: dict[str, Any]) -> None:
    stream = io.BytesIO()
    YAML(typ="safe", pure=True).dump(data, stream)
    read_or_refused(stream.getvalue())


@settings(max_examples=100, deadline=None)
@given(st.one_of(st.binary(max_size=60), st.text("{}[]:,-#&*!|>'\"%?~figures \n", max_size=60)))
def test_any_text_is_a_dashboard_or_is_refused_with_a_line(text: str | bytes) -> None:
    read_or_refused(text.encode() if isinstance(text, str) else text)


@pytest.mark.parametrize("text", ["", "[]", "figures: []", "title: x", "figures: 3", "a: [", "{"])
def test_a_file_that_is_no_dashboard_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "no.yaml").write_text(text)
    with pytest.raises(StudyFileError):
        load_layout(tmp_path / "no.yaml")


def test_an_option_names_a_shipped_dashboard_or_a_file(tmp_path: Path) -> None:
    assert find_layout(None) is None
    pruning = find_layout("pruning")
    assert pruning is not None
    assert pruning.title == "Pruning"
    with pytest.raises(UserError, match="did you mean paper"):
        find_layout("papr")
    with pytest.raises(StudyFileError, match="no such file"):
        find_layout(str(tmp_path / "none.yaml"))


def test_the_schema_knows_what_the_checks_know() -> None:
    schema = json.loads(dashboard_schema_text())
    assert schema["properties"].keys() == KEYS.keys()
    named = schema["properties"]["figures"]["items"]["anyOf"]
    assert named[0]["enum"] == list(FIGURES)
    own = {each["properties"]["name"]["const"]: each["properties"] for each in named[1:]}
    assert own.keys() == FIGURES.keys()
    for path in shipped("dashboards").glob("*.yaml"):
        data = YAML(typ="safe", pure=True).load(path.read_text())
        assert data.keys() <= schema["properties"].keys()
        for panel in data["figures"]:
            if isinstance(panel, dict):
                assert panel.keys() <= own[panel["name"]].keys()
    from typer.testing import CliRunner

    printed = CliRunner().invoke(app, ["schema", "--dashboard"])
    assert printed.output == dashboard_schema_text()
