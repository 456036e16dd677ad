"""How the files of the package import each other."""

from __future__ import annotations

import grimp


def test_no_two_files_import_each_other() -> None:
    graph = grimp.build_graph("lyapopt", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    pairs = {
        (one, other)
        for one, imported in imports.items()
        for other in imported
        if one < other and one in imports[other]
    }
    assert pairs == set()
