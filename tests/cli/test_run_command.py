"""`lyapopt run`: a whole study, again, more of it, none of it, and from scratch."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from command_line import STUDY, environment, lyapopt, results, trials, write


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study that was run."""
    folder = tmp_path_factory.mktemp("finished")
    write(folder)
    done = lyapopt(folder, "run", "study.yaml")
    assert done.returncode == 0, done.stderr
    (folder / "out.txt").write_text(done.stdout)
    (folder / "err.txt").write_text(done.stderr)
    return folder


def test_a_study_prints_a_line_for_each_trial_and_then_its_best(finished: Path) -> None:
    lines = (finished / "err.txt").read_text().splitlines()
    assert lines[0] == "study small: 0 of 8 trials done"
    assert [line.split()[:2] for line in lines[1:]] == [["trial", str(k)] for k in range(8)]
    out = (finished / "out.txt").read_text()
    assert out.startswith("study small: all 8 trials are done\n")
    for said in ("best", "verdicts", "gradient evaluations", "lyapopt dashboard study.yaml"):
        assert said in out


def test_a_finished_study_says_so_and_how_to_get_more(finished: Path) -> None:
    before = results(finished)
    done = lyapopt(finished, "run", "study.yaml")
    assert done.returncode == 0
    assert "nothing to do: all 8 trials are done" in done.stdout
    assert "lyapopt run study.yaml --extra 20" in done.stdout
    assert results(finished) == before


def test_quiet_prints_the_best_trial_and_nothing_else(finished: Path) -> None:
    done = lyapopt(finished, "run", "study.yaml", "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    [line] = done.stdout.splitlines()
    assert line.startswith("trial ")
    assert "activation=" in line


def test_a_dry_run_shows_what_a_run_begins_with(finished: Path, tmp_path: Path) -> None:
    write(tmp_path)
    done = lyapopt(tmp_path, "run", "study.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["study.yaml"]
    for trial in trials(finished)[:4]:
        params = trial["params"]
        lr = format(params["lr"], ".4g")
        configuration = f"activation={params['activation']} lr={lr} init_seed={params['init_seed']}"
        assert f"{trial['trial']:>5}  {configuration}\n" in done.stdout
    [cost] = {t["gradient_evaluations"] for t in trials(finished) if t["state"] == "complete"}
    assert f"about {cost:,.0f} gradient evaluations a trial" in done.stdout
    assert "optuna.samplers.TPESampler(n_startup_trials=4)" in done.stdout
    assert "wrapped=optuna.pruners.MedianPruner(n_startup_trials=3)" in done.stdout


def test_extra_trials_are_added_and_fresh_starts_anew(tmp_path: Path, finished: Path) -> None:
    write(tmp_path)
    (tmp_path / "study.db").write_bytes((finished / "study.db").read_bytes())
    done = lyapopt(tmp_path, "run", "study.yaml", "--extra", "3")
    assert done.returncode == 0, done.stderr
    assert len(trials(tmp_path)) == 11

    refused = lyapopt(tmp_path, "run", "study.yaml", "--fresh")
    assert refused.returncode == 2
    assert "--fresh deletes study 'small' with 11 trials" in refused.stderr
    assert len(trials(tmp_path)) == 11

    again = lyapopt(tmp_path, "run", "study.yaml", "--fresh", "--yes")
    assert again.returncode == 0, again.stderr
    assert results(tmp_path) == results(finished)
    with sqlite3.connect(tmp_path / "study.db") as connection:
        [(runs,)] = connection.execute("select count(*) from lyapopt_run")
    connection.close()
    assert runs == 8


def test_optuna_opens_what_was_written(finished: Path) -> None:
    study = optuna.load_study(study_name=None, storage=f"sqlite:///{finished / 'study.db'}")
    assert len(study.trials) == 8
    assert {"exponent", "verdict"} <= set(study.best_trial.user_attrs)


@pytest.mark.slow
def test_progress_and_log_level_of_the_file_are_honoured(tmp_path: Path) -> None:
    write(tmp_path, STUDY + "output: {progress: none, log_level: error}\n")
    done = lyapopt(tmp_path, "run", "study.yaml", "--set", "n_trials=4")
    assert (done.returncode, done.stderr) == (0, "")
    assert "all 4 trials are done" in done.stdout


def test_commands_to_paste_name_the_program_as_it_was_called(finished: Path) -> None:
    program = finished / "bin" / "lyapopt"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom lyapopt.cli.main import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    done = subprocess.run(
        ["bin/lyapopt", "run", "study.yaml"],
        cwd=finished,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "bin/lyapopt best study.yaml" in done.stdout
