"""Generated study files with one mistake each: exit code 2, the right line, no traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from study_texts import FULL

from lyapopt.study.file.document import Source
from lyapopt.study.file.reading import parse_yaml, split_lines

Run = Callable[..., tuple[int, str, str]]

LINES = FULL.splitlines()
TOKEN = re.compile(r"[^,}\]\n#]*[^,}\]\n#\s]")


def mutated() -> dict[str, tuple[str, int]]:
    """Texts with a key misspelt, or a value that is a mapping or a quoted text, with their line."""
    document = parse_yaml(FULL, Source("study.yaml", split_lines(FULL)))
    found: dict[str, tuple[str, int]] = {}
    for path, place in document.places.items():
        name = ".".join(map(str, path))
        if place.key is not None:
            line, column = place.key.line, place.key.column
            found[f"{name} misspelt"] = (_replaced(line, column, str(path[-1]), "zzqz"), line)
        value = document.get(path)
        if isinstance(value, dict | list) or not path:
            continue
        line, column = place.value.line, place.value.column
        token = TOKEN.match(LINES[line], column)
        assert token is not None
        found[f"{name} a mapping"] = (_replaced(line, column, token[0], "{zzqz: 1}"), line)
        if not isinstance(value, str):
            found[f"{name} a text"] = (_replaced(line, column, token[0], "'zzqz'"), line)
    return found


def _replaced(line: int, column: int, old: str, new: str) -> str:
    text = LINES[line]
    assert text[column:].startswith(old), (text, column, old)
    changed = text[:column] + new + text[column + len(old) :]
    return "\n".join([*LINES[:line], changed, *LINES[line + 1 :]]) + "\n"


CASES = mutated()


def test_there_are_many() -> None:
    assert len(CASES) > 150


@pytest.mark.parametrize("name", CASES)
def test_a_mistake_is_refused_on_its_line(name: str, run: Run) -> None:
    text, line = CASES[name]
    Path("study.yaml").write_text(text)
    code, out, err = run("validate", "study.yaml")
    assert (code, out) == (2, ""), err
    assert "Traceback" not in err
    assert f"study.yaml:{line + 1}:" in err
    assert err.count("^") >= 1
