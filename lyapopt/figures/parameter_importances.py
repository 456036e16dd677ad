"""Which hyperparameters the final loss depends on, and which the exponent."""

from __future__ import annotations

from typing import Final

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from numpy.typing import NDArray

from lyapopt.figures.axes import Floats, rounded
from lyapopt.figures.text import name_of, worded
from lyapopt.figures.theme import COLOURS, notice, remark, styled
from lyapopt.figures.trial_table import column_of, numbers, parameters, trial_table, value_name

_TITLE = "Importance of hyperparameters: for the loss, and for the exponent"
_FEWEST: Final = 10  # trials
_MOST_TRIALS: Final = 500
_MOST_PARAMETERS: Final = 15
_TREES: Final = 32
_REPEATS: Final = 3
_TARGETS: Final = {"value": "final loss", "exponent": "exponent"}


def collect(trials: pd.DataFrame) -> pd.DataFrame:
    """Permutation importances of a random forest, on trials that it has not seen.

    A forest learns the ranks of the final loss (of the exponent) from the parameters of two thirds
    of the trials. Its error on the others grows when a parameter is shuffled among them: the share
    of all such growth is the parameter's importance. Three times, each third once being the others.

    Args:
        trials: A row a trial: `params_NAME` for each parameter, the final loss, `exponent`.

    Returns:
        A row a parameter and target (`final loss`, `exponent`): `parameter`, `target`,
        `importance` (at least 0; those of a target sum to 1, or are 0 where no parameter tells
        anything), `explained` (R² of all parameters on unseen trials), `trials`. Sorted by
        importance, the largest first.

    Source: Breiman 2001, Machine Learning 45, 5-32.
    """
    table = trial_table(trials)
    rows: list[dict[str, object]] = []
    for column, target in _TARGETS.items():
        known = np.flatnonzero(np.isfinite(table[column].to_numpy()))
        if len(known) > _MOST_TRIALS:
            known = known[np.linspace(0, len(known) - 1, _MOST_TRIALS).astype(int)]
        inputs = {name: _encoded(trials.iloc[known], name) for name in parameters(trials)}
        inputs = {name: values for name, values in inputs.items() if len(np.unique(values)) > 1}
        wanted = table[column].to_numpy()[known]
        if len(known) < _FEWEST or not inputs or len(np.unique(wanted)) < 2:
            continue
        ranks = np.asarray(pd.Series(wanted).rank(pct=True), dtype=np.float64)
        found, explained = _importances(np.column_stack(list(inputs.values())), ranks)
        rows += [
            {"parameter": name, "target": target, "importance": each, "explained": explained,
             "trials": len(known)}
            for name, each in zip(inputs, found.tolist(), strict=True)
        ]  # fmt: skip
    columns = ["parameter", "target", "importance", "explained", "trials"]
    found_rows = pd.DataFrame(rows, columns=columns)
    return found_rows.sort_values("importance", ascending=False, kind="stable", ignore_index=True)


def draw(importances: pd.DataFrame, title: str = _TITLE, value: str = "final loss") -> go.Figure:
    """Two bars a parameter, the most important one on top.

    Args:
        importances: What `collect` gives.
        title: Title of the figure.
        value: What the first objective is called.
    """
    order = importances.groupby("parameter", sort=False)["importance"].max()
    names = order.sort_values(ascending=False).index[:_MOST_PARAMETERS].tolist()
    figure = go.Figure()
    for place, target in enumerate(_TARGETS.values()):
        part = importances[importances["target"] == target].set_index("parameter")
        if part.empty:
            continue
        shown = part["importance"].reindex(names)
        explained, count = float(part["explained"].iloc[0]), int(part["trials"].iloc[0])
        label = value if target == "final loss" else target
        figure.add_bar(
            y=[name_of(name) for name in names],
            x=rounded(shown, 4),
            hovertemplate="%{y}: %{x:.1%}",
            orientation="h",
            name=f"{label} ({count:,} trials, {max(explained, 0.0):.0%} explained)",
            marker={"color": COLOURS[place], "pattern": {"shape": "/" if place else ""}},
        )
    figure.update_yaxes(autorange="reversed", type="category")
    figure.update_xaxes(title="importance (share)", rangemode="tozero")
    figure.update_layout(barmode="group", bargap=0.3, showlegend=True)
    total = importances["parameter"].nunique()
    if total > len(names):
        remark(figure, f"{len(names)} of {total} parameters")
    return styled(figure, title, height=max(260, 150 + 34 * len(names)))


def parameter_importances(trials: pd.DataFrame, *, title: str = _TITLE) -> go.Figure:
    """Importance of each hyperparameter for the final loss and for the exponent, side by side.

    Args:
        trials: See `collect`.
        title: Title of the figure.

    Example:
        >>> rate = [10.0 ** (-k / 10) for k in range(40)]
        >>> made = {"params_lr": rate, "params_width": [8, 16] * 20, "value": rate}
        >>> collect(pd.DataFrame(made))["parameter"].iloc[0]
        'params_lr'
    """
    importances = collect(trials)
    if importances.empty:
        return notice(
            title, f"That needs {_FEWEST} trials with a final loss or an exponent,",
            "and a hyperparameter that differs between them.",
        )  # fmt: skip
    if not importances["importance"].any():
        most = int(importances["trials"].max())
        return notice(
            title, f"In {most:,} trials no hyperparameter tells anything of",
            "the final loss or the exponent of trials that were left out.",
        )  # fmt: skip
    return draw(importances, title, value_name(trials))


def _encoded(rows: pd.DataFrame, name: str) -> Floats:
    """A parameter as numbers: ranks, or codes of choices; -1 where it is not there."""
    values = numbers(rows, name)
    texts = [worded(each) for each in column_of(rows, name)]
    if any(text and np.isnan(value) for text, value in zip(texts, values, strict=True)):
        codes = pd.Categorical(pd.Series(texts, dtype=object).replace("", None)).codes
        return np.asarray(codes, dtype=np.float64)
    return np.asarray(pd.Series(values).rank().fillna(-1.0), dtype=np.float64)


def _importances(inputs: Floats, target: Floats) -> tuple[Floats, float]:
    """Of each column, and R² of all, both on trials that the forest has not seen."""
    # Imported here: 1 s that no other figure needs.
    from sklearn.ensemble import RandomForestRegressor

    draws = np.random.default_rng(0)
    folds = np.arange(len(target)) % 3
    draws.shuffle(folds)
    count, error, growth = inputs.shape[1], 0.0, np.zeros(inputs.shape[1])
    for fold in range(3):
        unseen = folds == fold
        forest = RandomForestRegressor(_TREES, min_samples_leaf=2, random_state=0)
        forest.fit(inputs[~unseen], target[~unseen])
        x, y = inputs[unseen], target[unseen]
        fold_error = _error(forest.predict(x), y)
        error += fold_error
        changed = np.tile(x, (count * _REPEATS, 1, 1))
        for place, column in enumerate(np.repeat(np.arange(count), _REPEATS)):
            draws.shuffle(changed[place, :, column])
        predicted = forest.predict(changed.reshape(-1, count)).reshape(count, _REPEATS, len(y))
        growth += [_error(each, y) / _REPEATS - fold_error for each in predicted]
    shares = growth.clip(min=0.0)
    return shares / (shares.sum() or 1.0), 1.0 - error / (float(target.var()) * len(target))


def _error(predicted: NDArray[np.float64], wanted: Floats) -> float:
    return float(((predicted - wanted) ** 2).sum())
