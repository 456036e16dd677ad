"""`--help` of every command: a line that says what, the options, an example that is one."""

from __future__ import annotations

import re
import shlex
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from lyapopt.cli.main import app


def commands(command: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    found = {path: command}
    for name, inner in getattr(command, "commands", {}).items():
        found |= commands(inner, (*path, name))
    return found


ALL = commands(typer.main.get_command(app))


def text_of(path: tuple[str, ...]) -> str:
    shown = CliRunner().invoke(app, [*path, "--help"], terminal_width=80)
    assert shown.exit_code == 0
    return shown.output


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_says_what_and_ends_with_an_example_that_is_one(path: tuple[str, ...]) -> None:
    text = text_of(path)
    usage, summary = text.split("\n\n")[:2]
    assert usage.startswith("Usage: lyapopt") or usage.startswith("Usage: root")
    assert summary.strip()
    listed = text.partition("Commands:")[2]
    assert "..." not in listed
    if hasattr(ALL[path], "commands"):
        assert all(len(line) <= 80 for line in listed.splitlines())
        return
    examples = re.findall(r"^    (lyapopt .*)$", text.partition("Example:\n")[2], re.M)
    assert examples
    for example in examples:
        words = shlex.split(example.partition(" > ")[0])[1:]
        assert tuple(words[: len(path)]) == path
        ALL[path].make_context(path[-1], words[len(path) :])  # raises what is wrong


def test_there_are_as_many_as_the_readme_knows() -> None:
    names = {path[0] for path in ALL if path}
    assert names >= {"init", "run", "worker", "validate", "schema", "status", "trials", "best"}
    assert names >= {"replay", "report", "dashboard", "storage", "bench"}
