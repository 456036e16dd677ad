"""The house as its map says: no circles, no long files, every public name and path where it was."""

from __future__ import annotations

import re
from graphlib import TopologicalSorter
from pathlib import Path

import grimp
import pytest

import lyapopt

PACKAGE = Path(lyapopt.__file__).parent
LONGEST = 400


def test_no_files_import_each_other_not_even_by_way_of_others() -> None:
    """Imports within functions and those for types alone count, too."""
    graph = grimp.build_graph("lyapopt", cache_dir=None)
    imports = {file: graph.find_modules_directly_imported_by(file) for file in graph.modules}
    assert len(imports) > 100
    TopologicalSorter(imports).prepare()  # a CycleError names the files


def test_no_file_is_longer_than_two_ideas() -> None:
    long = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if len(path.read_text().splitlines()) > LONGEST
    }
    assert long == set()


def test_every_public_name_can_be_imported() -> None:
    for name in lyapopt.__all__:
        assert getattr(lyapopt, name) is not None
    assert set(lyapopt.__all__) <= set(dir(lyapopt))
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lyapopt.no_such_name


def test_every_path_on_the_map_is_there() -> None:
    assert lyapopt.__doc__ is not None
    paths = re.findall(r"\b[\w/]+(?:/|\.py)(?=[\s,;:)])", lyapopt.__doc__)
    assert len(paths) > 15
    for path in paths:
        assert (PACKAGE / path).exists() or (PACKAGE.parent / path).exists(), path


def test_a_citation_names_the_version_that_is_installed() -> None:
    citation = (PACKAGE.parent / "CITATION.cff").read_text()
    assert f"\nversion: {lyapopt.__version__}\n" in citation
