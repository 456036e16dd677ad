"""The searches that whole studies are timed on are the same in both ways."""

from __future__ import annotations

from pathlib import Path

import pytest

import lyapopt
from lyapopt.bench.speed.whole import plain
from lyapopt.bench.speed.whole.rows import whole_rows
from lyapopt.bench.speed.whole.searches import SEARCHES
from lyapopt.study.file import load_study_file

STUDIES = Path(lyapopt.__file__).parents[1] / "studies"


@pytest.mark.parametrize("name", SEARCHES)
def test_every_search_is_a_valid_study_and_has_a_plain_script(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(SEARCHES[name].study_file("a.db"))
    assert load_study_file(path).n_trials == SEARCHES[name].trials
    assert SEARCHES[name].name in plain.OBJECTIVES


@pytest.mark.parametrize("name", ["digits", "xor"])
def test_the_searches_of_the_shipped_studies_are_theirs(name: str, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(SEARCHES[name].study_file("a.db"))
    timed, shipped = load_study_file(path), load_study_file(STUDIES / f"{name}.yaml")
    for key in ("task", "variables", "probe", "record", "pruner_spec", "n_trials", "seed"):
        assert getattr(timed, key) == getattr(shipped, key), key


@pytest.mark.slow
def test_the_parts_of_a_study_add_up_to_its_time() -> None:
    *ratios, split = whole_rows(1, ["four"])
    assert [row.unit for row in ratios] == ["x"] * 4
    parts = [float(part.rsplit(" ", 1)[1]) for part in split.detail.split(", ")]
    assert sum(parts) == pytest.approx(split.measured.median, abs=0.05)
    assert min(parts) > 0
