"""`lyapopt init`: study files to start from, which run as they are."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_line import lyapopt

from lyapopt.study.file import json_schema_text, load_study_file
from lyapopt.study.templates import SCHEMA, Template, template_files


@pytest.mark.parametrize("template", Template)
def test_a_template_is_a_commented_study_that_editors_know(
    template: Template, tmp_path: Path
) -> None:
    files = template_files(template, tmp_path / "mine.yaml")
    for path, text in files.items():
        path.write_text(text)
    text = files[tmp_path / "mine.yaml"]
    assert text.startswith(f"# yaml-language-server: $schema=./{SCHEMA}\n#\n# ")
    assert "studies/" not in text
    assert files[tmp_path / SCHEMA] == json_schema_text()
    assert load_study_file(tmp_path / "mine.yaml").n_trials


def test_a_network_of_ones_own_is_written_with_its_module_and_nothing_is_overwritten(
    tmp_path: Path,
) -> None:
    assert lyapopt(tmp_path, "init", "-t", "custom").returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"study.yaml", "own_network.py", SCHEMA}
    assert lyapopt(tmp_path, "validate", "study.yaml").returncode == 0
    (tmp_path / "own_network.py").write_text("mine = True\n")
    refused = lyapopt(tmp_path, "init", "a.yaml", "-t", "custom")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "own_network.py is there already" in refused.stderr
    assert not (tmp_path / "a.yaml").exists()
    replaced = lyapopt(tmp_path, "init", "a.yaml", "-t", "custom", "--force")
    assert replaced.stdout.startswith("wrote a.yaml\nwrote own_network.py\nrun it:")
    assert "no name of a study file" in lyapopt(tmp_path, "init", "a.txt").stderr
