"""What `--help` says of each command in a line, and the example that it ends with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import typer

__all__ = ["with_examples"]

_COMMANDS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "init": (
        "Write a study file to start from, or convert another tool's.",
        (
            "lyapopt init --template digits",
            "lyapopt init --template custom mine.yaml",
            "lyapopt init --from sweep.yaml",
        ),
    ),
    "run": (
        "Run the study of a file, or go on with it.",
        (
            "lyapopt run study.yaml --dry-run",
            "lyapopt run study.yaml --set n_trials=20 --set task.steps=100",
        ),
    ),
    "worker": (
        "Join a study that several machines share, until it is done.",
        ("lyapopt worker study.yaml --quiet",),
    ),
    "validate": (
        "Check a study file; nothing is run, no storage touched.",
        ("lyapopt validate study.yaml",),
    ),
    "schema": (
        "Print the JSON Schema of study files, for editors.",
        ("lyapopt schema > study.schema.json",),
    ),
    "status": (
        "Show where a study stands: counts, best trial, cost, progress.",
        ("lyapopt status runs/digits.db --watch", "lyapopt status study.yaml -f json"),
    ),
    "trials": (
        "List the trials of a study with exponents and verdicts.",
        (
            "lyapopt trials study.yaml --where 'verdict == \"edge\" and lr < 0.1' --sort value",
            "lyapopt trials runs/digits.db --columns trial,value,lr,seconds -f csv",
        ),
    ),
    "best": (
        "Print the best trial, ready to paste, or save its weights.",
        ("lyapopt best study.yaml --save model.pt", "lyapopt best runs/digits.db -k 5 -f json"),
    ),
    "replay": (
        "Train a trial again, and check that it comes out the same.",
        ("lyapopt replay study.yaml --trial 7",),
    ),
    "report": (
        "Write a study as one page that needs no network.",
        ("lyapopt report runs/digits.db -o report.html",),
    ),
    "dashboard": (
        "Serve optuna-dashboard and our pages for a storage.",
        ("lyapopt dashboard runs/digits.db --read-only",),
    ),
    "storage init": (
        "Create the tables before workers come; safe at the same time.",
        ("lyapopt storage init postgresql+psycopg://me@host/studies",),
    ),
    "storage upgrade": (
        "Bring Optuna's tables and ours to the installed versions.",
        ("lyapopt storage upgrade runs/old.db",),
    ),
    "storage gc": (
        "Delete what is stored of trials that are gone.",
        ("lyapopt storage gc runs/digits.db --dry-run",),
    ),
    "storage export": (
        "Copy studies into one SQLite file, or into tables.",
        ("lyapopt storage export study.yaml -o copy.db", "lyapopt storage export x.db -f csv -o x"),
    ),
    "storage doctor": (
        "Say what a database holds, and what is wrong with it.",
        ("lyapopt storage doctor runs/digits.db --deep",),
    ),
    "bench speed": (
        "Times of lyapopt and its rivals, interleaved, with ratios.",
        ("lyapopt bench speed --quick --json speed.json",),
    ),
    "bench search": (
        "Methods at equal counted compute: rivals, ours, placebos.",
        ("lyapopt bench search --quick", "lyapopt bench search --task mytask:build"),
    ),
    "bench studies": (
        "The recommended study against Optuna's TPE and median pruner.",
        ("lyapopt bench studies --quick", "lyapopt bench studies --only xor --seeds 5"),
    ),
    "bench signal": (
        "What early numbers say of the final loss.",
        ("lyapopt bench signal --quick --html signal.html",),
    ),
    "bench rates": (
        "Learning rates of find_lr and others, trained to the end.",
        ("lyapopt bench rates --quick",),
    ),
    "bench paper": (
        "Where the claims of arXiv:2410.05988 hold.",
        ("lyapopt bench paper --quick",),
    ),
    "bench store": (
        "Times to write and read trials, and bytes on disk.",
        ("lyapopt bench store --quick",),
    ),
}


def with_examples(app: typer.Typer, group: str = "") -> None:
    """Give every command its line and its example.

    Args:
        app: With all its commands and groups.
        group: Name of the group, with a space behind it.
    """
    for info in app.registered_commands:
        name = info.name or getattr(info.callback, "__name__", "").replace("_", "-")
        summary, examples = _COMMANDS[group + name]
        info.short_help = summary
        # Behind a line with \b alone, nothing is wrapped.
        info.epilog = "\n".join(["\b", "Example:", *(f"  {line}" for line in examples)])
    for inner in app.registered_groups:
        if inner.typer_instance is not None and inner.name is not None:
            with_examples(inner.typer_instance, f"{inner.name} ")
