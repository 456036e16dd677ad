"""What a study shows within optuna-dashboard: written by a run and by --refresh, small and safe."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import optuna
import pytest
from serving import CHROMIUM, PATIENCE, ROOT, browser, served

import lyapopt
from lyapopt.study.file import load_study_file
from lyapopt.study.run.events import StudyListener
from lyapopt.study.run.runner import run_study
from lyapopt.web.following import Following
from lyapopt.web.inside import artifact_folder, refresh_studies
from lyapopt.web.inside.chosen import BEST, MOST_PICTURES
from lyapopt.web.inside.note import merged, note_of
from lyapopt.web.inside.pictures import Curves, picture
from lyapopt.web.inside.plots import MOST_BYTES, PLOTS

optuna_dashboard = pytest.importorskip("optuna_dashboard", reason="needs the extra `dashboard`")

STUDY = """
study_name: shown
storage: sqlite:///study.db
task: {name: xor, hidden: 4, steps: 60}
search_space:
  activation: [relu, sigmoid]
  lr: {type: float, low: 0.01, high: 500.0, log: true}
probe: {horizon: 8, neighbours: 2}
sampler: random
n_trials: 12
"""


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Run by the command, at whose end the pages are written behind it."""
    folder = tmp_path_factory.mktemp("inside")
    (folder / "study.yaml").write_text(STUDY)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LYAPOPT_DASHBOARD": "1"}
    command = [sys.executable, "-m", "lyapopt", "run", "study.yaml", "-q"]
    subprocess.run(command, cwd=folder, env=environment, check=True)
    end = time.monotonic() + 300
    while _pictures(loaded(folder / "study.db")) < 12:  # which come last
        assert time.monotonic() < end
        time.sleep(0.2)
    return folder / "study.db"


def loaded(database: Path) -> optuna.Study:
    return optuna.load_study(study_name="shown", storage=f"sqlite:///{database}")


def _pictures(study: optuna.Study) -> int:
    attributes = study._storage.get_study_system_attrs(study._study_id)
    return sum(name.startswith("dashboard:artifacts:") for name in attributes)


def test_a_run_leaves_a_note_plots_and_pictures(database: Path) -> None:
    study = loaded(database)
    assert study.metric_names == ["validation loss"]
    assert study.user_attrs == {}
    note = optuna_dashboard.get_note(study)
    assert "(/lyapopt/?study=shown)" in note
    assert "| relu |" in note
    attributes = study._storage.get_study_system_attrs(study._study_id)
    for name in PLOTS:
        parts = {k: v for k, v in attributes.items() if k.startswith(f"dashboard:plot_data:{name}")}
        text = "".join(parts[f"dashboard:plot_data:{name}:{i}"] for i in range(len(parts)))
        assert 0 < len(text) <= MOST_BYTES
        figure = json.loads(text)
        assert figure["layout"]["paper_bgcolor"] == "rgba(0,0,0,0)"
        assert figure["layout"]["uirevision"] == "keep"
    folder = artifact_folder(f"sqlite:///{database}")
    assert folder is not None
    assert len(list(folder.iterdir())) == 12
    assert all(each.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n" for each in folder.iterdir())


def test_values_that_blew_up_are_never_shown(database: Path) -> None:
    trials = loaded(database).trials
    diverged = [trial for trial in trials if trial.user_attrs["verdict"] == "diverged"]
    assert diverged
    assert {trial.state.name for trial in diverged} == {"PRUNED"}
    shown = [v for trial in trials for v in trial.intermediate_values.values()]
    assert max(shown) < 1000


def test_a_second_refresh_writes_nothing_and_keeps_what_a_reader_wrote(database: Path) -> None:
    study = loaded(database)
    optuna_dashboard.save_note(study, "mine\n\n" + optuna_dashboard.get_note(study))
    before = study._storage.get_study_system_attrs(study._study_id)
    assert refresh_studies(f"sqlite:///{database}") == ["shown"]
    study = loaded(database)
    assert study._storage.get_study_system_attrs(study._study_id) == before
    assert optuna_dashboard.get_note(study).startswith("mine\n\n")
    assert merged("a", "b").startswith("a\n\n[lyapopt-begin]: #")


def test_names_of_users_are_text_in_a_note() -> None:
    from lyapopt.store.trials import StoredStudy, StoredTrial
    from lyapopt.study.analysis.data import StudyData

    hostile = "<script>alert(1)</script>|[x](javascript:alert(1))"
    trial = StoredTrial(0, "complete", (1.0,), {"activation": hostile, hostile: 3})
    data = StudyData(StoredStudy(hostile, ("minimize",), [trial]), "sqlite:///none.db")
    note = note_of(data)
    assert "<script" not in note
    assert "](javascript" not in note
    assert "\\|" in note


def test_a_large_study_has_a_hundred_pictures_with_the_best_trials_however_it_grows(
    tmp_path: Path,
) -> None:
    database = tmp_path / "study.db"
    study = optuna.create_study(storage=f"sqlite:///{database}", study_name="shown")
    order = np.random.default_rng(0).permutation(160)

    def best(count: int) -> set[int]:
        return {int(number) for number in np.argsort(order[:count])[:BEST]}

    def pictured() -> set[int]:
        refresh_studies(f"sqlite:///{database}")
        numbers = {trial._trial_id: trial.number for trial in study.trials}
        names = loaded(database)._storage.get_study_system_attrs(1)
        return {numbers[int(n.split(":")[2])] for n in names if n.startswith("dashboard:artifacts")}

    seen = []
    for count in (110, 160):
        study.add_trials(
            [optuna.trial.create_trial(value=float(v)) for v in order[len(study.trials) : count]]
        )
        seen.append(pictured())
        assert best(count) <= seen[-1]
    assert len(seen[0]) == MOST_PICTURES
    assert seen[0] <= seen[1]
    assert len(seen[1]) <= MOST_PICTURES + BEST


def test_a_picture_shows_curves_with_holes_and_without_any() -> None:
    from PIL import Image

    x = np.arange(50.0)
    y = np.where(x > 40, np.nan, np.exp(-x / 9))
    empty = (np.empty(0), np.empty(0))
    full = picture(Curves("trial 3", "hot", (x, y), (x, x - 13)))
    bare = picture(Curves("trial 4", "", empty, (x, np.full(50, np.inf))))
    for written in (full, bare):
        image = Image.open(io.BytesIO(written))
        assert image.size == (520, 300)
        assert len(written) < 60_000
    assert full != bare


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_optuna_dashboard_shows_them_and_the_link_leads_to_our_page(database: Path) -> None:
    from playwright.sync_api import expect

    best = lyapopt.load(database).overview.best[0].number
    with served(str(database)) as (_, port), browser(port, "dark") as seen:
        page = seen.page
        page.goto(f"{seen.address}dashboard/studies/1")
        expect(page.get_by_text("validation loss").first).to_be_visible()
        expect(
            page.get_by_text("Exponent and final loss against the learning rate").first
        ).to_be_visible()
        seen.picture("optuna-dashboard-study")
        page.goto(f"{seen.address}dashboard/studies/1/trials?numbers={best}")
        expect(
            page.locator(f"img[alt='trial-{best}.png'], img[src*='/artifacts/']").first
        ).to_be_visible()
        seen.picture("optuna-dashboard-trial")
        page.goto(f"{seen.address}dashboard/studies/1/note")
        link = page.get_by_role("link", name="Exponents, trajectories and decisions").first
        expect(link).to_be_visible(timeout=PATIENCE)
        assert link.get_attribute("href") == "/lyapopt/?study=shown"
        seen.picture("optuna-dashboard-note")


def test_a_run_has_its_pages_written_while_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LYAPOPT_DASHBOARD", "1")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.chdir(tmp_path)
    Path("study.yaml").write_text(STUDY + "trials_at_once: 6\n")
    file = load_study_file("study.yaml")
    notes: list[str] = []

    class Waiting(StudyListener):
        """Lets the run wait for the first pages."""

        def finished(self, trial: optuna.trial.FrozenTrial, reason: str | None) -> None:
            if following._process is not None and not notes:
                assert following._process.wait(timeout=300) == 0
                study = optuna.load_study(study_name="shown", storage="sqlite:///study.db")
                notes.append(optuna_dashboard.get_note(study))

    following = Following(Waiting(), file, pause=0.0)
    run_study(file, following)
    following.conclude(["shown"])
    assert following.wait()
    study = optuna.load_study(study_name="shown", storage="sqlite:///study.db")
    [early] = notes
    assert "(/lyapopt/?study=shown)" in early
    assert early != optuna_dashboard.get_note(study)
    off = file.model_copy(update={"output": file.output.model_copy(update={"dashboard": False})})
    assert not Following(StudyListener(), off).is_on
