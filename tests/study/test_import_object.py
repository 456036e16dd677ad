"""Import paths lead to objects, and errors say what is wrong with the user's module."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lyapopt.errors import UserError
from lyapopt.study.file.import_paths import ImportPathError, import_object


@pytest.fixture(autouse=True)
def _fresh_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if name.startswith("my_train"):
            del sys.modules[name]


def test_an_object_comes_from_the_folder_of_the_study_file(tmp_path: Path) -> None:
    (tmp_path / "my_train_a.py").write_text("class A:\n    @staticmethod\n    def b(): return 7\n")
    assert import_object("my_train_a:A.b", tmp_path)() == 7


def test_an_object_comes_from_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_train_b.py").write_text("x = 1\n")
    monkeypatch.chdir(tmp_path)
    assert import_object("my_train_b:x") == 1


@pytest.mark.parametrize(
    ("text", "path", "parts"),
    [
        ("", "my_trian_c:build", ["there is no module my_trian_c", "did you mean my_train_c?"]),
        ("def build(): ...", "my_train_c:bild", ["there is no bild in", "did you mean build?"]),
        (
            "x = 1\ny = x / 0\n",
            "my_train_d:build",
            ["ZeroDivisionError", "my_train_d.py:2", "y = x / 0"],
        ),
        ("import not_there\n", "my_train_e:build", ["No module named 'not_there'", "e.py:1"]),
        ("def build(:\n", "my_train_f:build", ["my_train_f.py:1", "invalid syntax"]),
        ("raise SystemExit(3)\n", "my_train_g:build", ["SystemExit", "my_train_g.py:1"]),
        ("", "my_train_c", ["not of the form package.module:name"]),
    ],
)
def test_a_path_that_leads_nowhere_says_why(
    text: str, path: str, parts: list[str], tmp_path: Path
) -> None:
    name = path.partition(":")[0].replace("trian", "train")
    (tmp_path / f"{name}.py").write_text(text)
    with pytest.raises(ImportPathError) as caught:
        import_object(path, tmp_path)
    assert isinstance(caught.value, UserError)
    for part in parts:
        assert part in str(caught.value)
