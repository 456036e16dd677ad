"""The blocks of the README."""

from __future__ import annotations

from pathlib import Path

README = Path(__file__).parents[1] / "README.md"


def recipe_with(text: str, language: str = "python") -> str:
    """The block of the README that has this text."""
    parts = README.read_text().split(f"```{language}\n")[1:]
    [found] = [block for block in (part.partition("```")[0] for part in parts) if text in block]
    return found
