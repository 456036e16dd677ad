"""The note of a study: counts, the best trial, the table of activations, the way to our page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from lyapopt.display import one_line
from lyapopt.figures.tables import collect_activations
from lyapopt.figures.text import shown_interval, worded
from lyapopt.figures.trial_table import NOBODY
from lyapopt.study.analysis.data import StudyData
from lyapopt.study.analysis.overview import StoredTrial
from lyapopt.web.inside.chosen import BEST, MOST_PICTURES
from lyapopt.web.pages.facts import trained_in_words

# Definitions of links that nothing uses: the only lines that this Markdown does not show.
BEGIN: Final = "[lyapopt-begin]: #what-stands-between-these-lines-is-written-anew"
END: Final = "[lyapopt-end]: #"
_OURS: Final = re.compile(re.escape(BEGIN) + ".*?" + re.escape(END), re.DOTALL)
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>])")


def note_of(data: StudyData) -> str:
    """Where the study stands, in Markdown."""
    overview = data.overview
    spent = f"{overview.gradient_evaluations:,.0f} gradient evaluations spent"
    saved = f"; {overview.saved_in_words}" if overview.saved_in_words else ""
    lines = [
        f"### [Exponents, trajectories and decisions](/lyapopt/?study={quote(data.name, safe='')})",
        "",
        f"{_counted(overview.states) or 'No trials yet'}. {spent}{saved}.",
        "",
    ]
    if overview.verdicts:
        lines += [f"Verdicts: {_counted(overview.verdicts)}.", ""]
    full, trained = data.promoted, trained_in_words(data)
    if full is not None:
        link = f"[{plain(full.name, 200)}](/lyapopt/?study={quote(full.name, safe='')})"
        lines += [f"Best, trained in full in {link}: {_trial(t)}  " for t in full.overview.best[:1]]
    best = f"Best of those {trained}" if trained else "Best"
    lines += [f"{best}: {_trial(trial)}  " for trial in overview.best[:3]]
    lines += ["", *_table(data), "", _REPORTED]
    return "\n".join(lines)


def _trial(trial: StoredTrial) -> str:
    values = ", ".join(f"{value:.5g}" for value in trial.values)
    params = ", ".join(f"{plain(n)} = {_value(v)}" for n, v in trial.params.items())
    return f"trial {trial.number}, {values} ({params})"


def merged(old: str, ours: str) -> str:
    """A note with our part written anew, and what its reader wrote left as it is.

    Example:
        >>> merged("mine", "theirs").startswith("mine")
        True
        >>> merged(merged("mine", "old"), "new") == merged("mine", "new")
        True
    """
    block = f"{BEGIN}\n\n{ours}\n\n{END}"
    if _OURS.search(old):
        return _OURS.sub(lambda _: block, old, count=1)
    return f"{old.rstrip()}\n\n{block}" if old.strip() else block


def plain(text: object, longest: int = 60) -> str:
    """A text that Markdown reads as nothing but text.

    Example:
        >>> plain("<b>*a*|b")
        '&lt;b&gt;\\\\*a\\\\*\\\\|b'
    """
    line = one_line(text, longest)
    escaped = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", escaped)


_REPORTED: Final = (
    "A trial that diverged is pruned with the last value that it had before; loss and weights of "
    "every step are on the page above. It needs `lyapopt dashboard STORAGE`; the same command with "
    "`--refresh` writes this note and the plots anew. "
    f"Of more than {MOST_PICTURES} trials about {MOST_PICTURES} have a picture here, the best "
    f"{BEST} among them; the page shows all."
)


def _value(value: object) -> str:
    return plain(value) if isinstance(value, str) else worded(value)


def _counted(counts: Mapping[str, int]) -> str:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    return ", ".join(f"{count:,} {plain(name)}" for name, count in ordered)


def _table(data: StudyData) -> list[str]:
    """Activation, exponent and loss, means with intervals."""
    if not len(data.trials):
        return []
    rows = collect_activations(data.trials)
    head = "trials of" if set(rows["activation"]) == {NOBODY} else "activation"
    value = f"value, {trained}" if (trained := trained_in_words(data)) else "final loss"
    found = [
        _row([head, "trials", "exponent (nats per step)", value, "best"]),
        _row(["---", "---:", "---", "---", "---:"]),
    ]
    for row in rows.to_dict(orient="records"):
        exponent, loss = (
            shown_interval(row[name], row[f"{name} low"], row[f"{name} high"])
            for name in ("exponent", "loss")
        )
        name = str(row["activation"]).replace("&lt;", "<").replace("&gt;", ">")
        name = name.replace("&amp;", "&")  # it was escaped for plotly when it became a group
        cells: Sequence[object] = (
            plain(name), worded(row["trials"]), exponent, loss, worded(row["best loss"]),
        )  # fmt: skip
        found.append(_row(cells))
    return found


def _row(cells: Iterable[object]) -> str:
    return f"| {' | '.join(map(str, cells))} |"
