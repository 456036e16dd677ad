"""`lyapopt storage ...`, `lyapopt worker` and `lyapopt run --workers`, as they are typed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna

TEXT = """
study_name: shared
storage: sqlite:///{folder}/study.db
task: {{name: xor, hidden: 3, steps: 20}}
search_space: {{lr: {{type: float, low: 0.01, high: 3.0, log: true}}}}
probe: {{horizon: 6, neighbours: 1}}
n_trials: 6
trials_at_once: 2
"""


def lyapopt(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "lyapopt", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def test_a_database_from_its_beginning_to_its_export(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(TEXT.format(folder=tmp_path))
    made = lyapopt(tmp_path, "storage", "init", "study.db")
    assert made.stdout == "sqlite:///study.db: created\n", made.stderr
    ran = lyapopt(tmp_path, "run", "study.yaml", "--workers", "2")
    assert ran.returncode == 0, ran.stderr
    joined = lyapopt(tmp_path, "worker", "study.yaml", "--quiet")
    assert joined.returncode == 0, joined.stderr
    examined = lyapopt(tmp_path, "storage", "doctor", "study.db", "--deep")
    assert examined.returncode == 0, examined.stdout
    assert "study 'shared': trials" in examined.stdout
    exported = lyapopt(tmp_path, "storage", "export", "study.yaml", "-o", "share.db")
    assert exported.stdout == "share.db\n", exported.stderr
    assert optuna.get_all_study_names(f"sqlite:///{tmp_path}/share.db") == ["shared"]
    cleaned = lyapopt(tmp_path, "storage", "gc", "share.db", "--dry-run", "--grace", "0")
    assert cleaned.stdout == "0 runs would be deleted\n", cleaned.stderr
    upgraded = lyapopt(tmp_path, "storage", "upgrade", "share.db")
    assert "our tables: 1 -> 1" in upgraded.stdout, upgraded.stderr
    again = lyapopt(tmp_path, "storage", "export", "study.yaml", "-o", "share.db")
    assert again.returncode == 2
    assert "exists already" in again.stderr
