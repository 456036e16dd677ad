"""What `lyapopt replay` and `lyapopt best --save` do: train a trial again, compare, save."""

from __future__ import annotations

import math
from pathlib import Path

import torch

from lyapopt.cli import exit_codes, logs
from lyapopt.cli.target import target_of, with_study
from lyapopt.cli.text import assignments, echo, plural, print_rows, short
from lyapopt.display import one_line
from lyapopt.errors import UserError
from lyapopt.study.file import load_study_file
from lyapopt.study.run.replay import Difference, Replay, has_changed, replay, studied_file

__all__ = ["replay_and_show", "replayed", "save_model"]

_SHOWN = 10


def replayed(text: str, study_name: str | None, number: int) -> Replay:
    """Train a trial again.

    Args:
        text: STORAGE, as it was given.
        study_name: From `--study`.
        number: The trial's.

    Raises:
        UserError: If that is not possible.
    """
    logs.configure("warning")
    target, name = with_study(target_of(text, study_name))
    if target.file is not None:
        file = load_study_file(target.file)
        if has_changed(file):
            echo(
                f"note: {one_line(target.file)} is not what the study was last run with: what it "
                "says now is trained",
                err=True,
            )
    else:
        file = studied_file(target.storage, name, target.store)
    return replay(file, name, number)


def replay_and_show(text: str, study_name: str | None, number: int, save: Path | None) -> int:
    """Train a trial again, say whether it came out the same, and save its model if asked for.

    Returns:
        The exit code: 0 if it is the same bit for bit, 1 if it is not.
    """
    found = replayed(text, study_name, number)
    differences = found.differences
    rows = [("trial", f"{number}: {assignments(found.trial.params)}")]
    if len(found.group) > 1:
        others = f"{found.group[0]} to {found.group[-1]}"
        rows.append(("together", f"with its group, the trials {others}, as it was trained"))
    reports = sum(each.what.startswith("reported") for each in found.compared)
    rows.append(("compared", f"state, value, {plural(reports, 'reported value')}, exponent"))
    if not differences:
        rows.append(("result", "the same, bit for bit"))
    else:
        distances = [d.distance for d in differences if d.distance is not None]
        far = f", by {max(distances):.2g} of their size at most" if distances else ""
        rows.append(("result", f"{len(differences)} of {len(found.compared)} differ{far}"))
        rows += [("", _in_words(each)) for each in differences[:_SHOWN]]
        if len(differences) > _SHOWN:
            rows.append(("", f"and {len(differences) - _SHOWN} more"))
    print_rows(rows)
    if save is not None:
        save_model(found, save)
    return exit_codes.FAILED if differences else exit_codes.DONE


def _in_words(each: Difference) -> str:
    stored, again = (_whole(value) for value in (each.stored, each.again))
    return f"{each.what}: {stored} is stored, {again} came out"


def _whole(value: object) -> str:
    return repr(value) if isinstance(value, float) and math.isfinite(value) else short(value) or "-"


def save_model(found: Replay, path: Path) -> None:
    """Save the trained weights of a replayed trial, for `load_state_dict`.

    Raises:
        UserError: If there are none, or the file cannot be written.
    """
    if found.model is None:
        raise UserError(
            f"--save: trial {found.trial.number} has no trained model of ours; a trial of your own "
            "objective saves it there, and one whose value is the exponent is not trained"
        )
    if found.differences:
        echo("note: this training did not come out bit for bit as it is stored", err=True)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(found.model.state_dict(), path)
    except (OSError, RuntimeError) as error:
        raise UserError(f"--save {one_line(path)} cannot be written: {one_line(error)}") from error
    echo(f"saved {one_line(path)}: model.load_state_dict(torch.load({str(path)!r}))", err=True)
