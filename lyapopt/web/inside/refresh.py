"""Writes what a study shows within optuna-dashboard."""

from __future__ import annotations

import io
import json
import uuid
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import optuna
import pandas as pd

from lyapopt.display import one_line
from lyapopt.figures.series import pivoted
from lyapopt.figures.text import shown_interval
from lyapopt.search._optuna import (
    get_study_attribute,
    set_study_attribute,
    study_attributes,
    trial_ids,
)
from lyapopt.store.states import RUN_ATTRIBUTE
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import StoredStudy, StoredTrial, load_study, names_of_studies
from lyapopt.study.run.storage import open_storage
from lyapopt.web.inside.chosen import without_picture
from lyapopt.web.inside.note import merged, note_of
from lyapopt.web.inside.pictures import Curves, artifact_folder, picture
from lyapopt.web.inside.plots import PLOTS, plots_of

_ENDED: Final = ("complete", "pruned", "failed")
_NAMESPACE: Final = uuid.UUID("7e1f7c52-3a55-4b0e-8f0b-6c79706f7074")


def refresh_studies(
    storage: str, names: Sequence[str] | None = None, store: str | None = None
) -> list[str]:
    """Write note, plots and pictures of studies, so that optuna-dashboard shows them.

    What has not changed is not written again. A note keeps what its reader has written.

    Args:
        storage: URL of Optuna's storage.
        names: Of the studies; by default all.
        store: URL of a store of its own.

    Returns:
        Names of the studies that were refreshed.

    Raises:
        UserError: If the storage or a study cannot be read.
    """
    opened = open_storage(storage, create=False)
    wanted = names_of_studies(storage) if names is None else list(names)
    for name in wanted:
        stored = load_study(storage, name, store)
        data = StudyData(stored, storage, store)
        study = optuna.load_study(study_name=name, storage=opened)
        _refresh_note(study, data)
        _refresh_plots(study, data)
        folder = artifact_folder(storage)
        if folder is not None:
            _refresh_pictures(study, stored, data, folder)
    return wanted


def _refresh_note(study: optuna.Study, data: StudyData) -> None:
    # Imported here, as below: an optional extra.
    import optuna_dashboard

    old = optuna_dashboard.get_note(study)
    new = merged(old, note_of(data))
    if new != old:
        optuna_dashboard.save_note(study, new)


def _refresh_plots(study: optuna.Study, data: StudyData) -> None:
    import optuna_dashboard

    plots = plots_of(data)
    for name in PLOTS:
        if name in plots:
            text = plots[name].to_json()
            if text != _stored_plot(study, name):
                optuna_dashboard.save_plotly_graph_object(study, plots[name], graph_object_id=name)


def _stored_plot(study: optuna.Study, name: str) -> str:
    """A plot as it is stored, in pieces."""
    parts: list[str] = []
    while True:
        part = get_study_attribute(study, f"dashboard:plot_data:{name}:{len(parts)}")
        if not isinstance(part, str):
            return "".join(parts)
        parts.append(part)


def _refresh_pictures(
    study: optuna.Study, stored: StoredStudy, data: StudyData, folder: Path
) -> None:
    """A picture of each trial that has ended, or of some of many."""
    try:
        import PIL  # noqa: F401  # an optional extra, which `picture` uses
    except ImportError:
        return
    ids, known = trial_ids(study), study_attributes(study)
    places = {}
    for trial in stored.trials:
        if trial.state in _ENDED and trial.number in ids:
            run = str(trial.attributes.get(RUN_ATTRIBUTE, trial.number))
            picture_id = str(uuid.uuid5(_NAMESPACE, run))
            key = f"dashboard:artifacts:{ids[trial.number]}:{picture_id}"
            places[trial.number] = (trial, picture_id, key)
    there = {number for number, (_, _, key) in places.items() if key in known}
    missing = [places[number] for number in without_picture(data, {*places}, there)]
    if not missing:
        return
    folder.mkdir(parents=True, exist_ok=True)
    store = optuna.artifacts.FileSystemArtifactStore(folder)
    series = _series(data, [trial.number for trial, _, _ in missing])
    for trial, picture_id, key in missing:
        store.write(picture_id, io.BytesIO(picture(_curves(trial, series))))
        said = {
            "artifact_id": picture_id,
            "filename": f"trial-{trial.number}.png",
            "mimetype": "image/png",
            "encoding": None,
        }
        set_study_attribute(study, key, json.dumps(said))


def _series(data: StudyData, numbers: list[int]) -> pd.DataFrame:
    there = {"loss", "separation"} & set(data.series_names() if data.is_recorded else ())
    if not there:
        return pd.DataFrame(columns=["trial_number", "name", "step", "component", "value"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of damage, which the page says
        return data.trajectories(numbers, sorted(there))


def _curves(trial: StoredTrial, series: pd.DataFrame) -> Curves:
    own = series[series["trial_number"] == trial.number]
    lines = []
    for name in ("loss", "separation"):
        steps, values = pivoted(own[own["name"] == name])
        with np.errstate(invalid="ignore"):
            mean = values.mean(1) if values.size else np.empty(0)
        lines.append((steps.astype(np.float64), mean))
    said = [f"trial {trial.number}", trial.verdict or trial.state]
    if trial.exponent is not None:
        low, high = trial.interval or (np.nan, np.nan)
        said.append(f"exponent {shown_interval(trial.exponent, low, high)}")
    if trial.value is not None:
        said.append(f"value {trial.value:.4g}")
    title = one_line(", ".join(said), 90)
    return Curves(title, trial.verdict or "", lines[0], lines[1])
