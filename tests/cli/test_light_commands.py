"""Commands that only read a file answer without importing torch, Optuna or pandas."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from command_line import STUDY, environment, lyapopt, write

import lyapopt as package

HEAVY = ("torch", "optuna", "pandas", "sqlalchemy", "sklearn", "plotly")

PROBE = """
import sys
sys.argv = ["lyapopt", *sys.argv[1:]]
from lyapopt.cli.main import main
code = main()
print([name for name in {heavy!r} if name in sys.modules], file=sys.stderr)
sys.exit(code)
"""


def imported_by(folder: Path, *arguments: str) -> tuple[int, str]:
    code = PROBE.format(heavy=HEAVY)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return done.returncode, done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["--version"], ["validate", "a.yaml"], ["schema"]]
)
def test_light_commands_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    write(tmp_path, STUDY, "a.yaml")
    assert imported_by(tmp_path, *arguments) == (0, "[]")


def test_looking_at_a_study_imports_neither_torch_nor_optuna(tmp_path: Path) -> None:
    write(tmp_path)
    code, found = imported_by(tmp_path, "status", "study.yaml")
    assert code == 2
    assert found == "['sqlalchemy']"


def test_what_shows_a_study_in_a_browser_imports_no_torch(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard", reason="the extra `dashboard` is not installed")
    optuna.create_study(storage=f"sqlite:///{tmp_path}/a.db", study_name="a")
    code, found = imported_by(tmp_path, "dashboard", "a.db", "--refresh")
    assert code == 0
    assert "torch" not in found
    modules = "lyapopt.web.pages.app, lyapopt.study.run.storage"
    pages = f"import sys, {modules}; print('torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", pages], env=environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


UNUSED = ("sklearn", "scipy", "pandas", "plotly", "torch._dynamo", "sympy", "optuna.visualization")


def test_running_a_study_imports_nothing_that_it_does_not_use(tmp_path: Path) -> None:
    study = STUDY.replace("{name: xor, hidden: 4, steps: 40}", "{name: digits, steps: 20}")
    write(tmp_path, study)
    code = PROBE.format(heavy=UNUSED)
    done = subprocess.run(
        [sys.executable, "-c", code, "run", "study.yaml"],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stderr.strip().splitlines()[-1]) == (0, "[]"), done.stderr


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = f"import sys, lyapopt; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_the_schema_is_printed_as_committed(tmp_path: Path) -> None:
    shown = lyapopt(tmp_path, "schema")
    committed = Path(package.__file__).parents[1] / "studies" / "study.schema.json"
    assert json.loads(shown.stdout) == json.loads(committed.read_text())


def test_a_valid_file_is_called_valid(tmp_path: Path) -> None:
    write(tmp_path)
    done = lyapopt(tmp_path, "validate", "study.yaml", "--set", "n_trials=3")
    assert (done.returncode, done.stderr) == (0, "")
    assert "'small' is valid" in done.stdout
    assert not (tmp_path / "study.db").exists()
