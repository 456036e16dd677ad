"""A YAML parser's complaint in words that say what to change."""

from __future__ import annotations

__all__ = ["INDENTATION", "explain_syntax"]

INDENTATION = "the indentation does not fit what is above"


def explain_syntax(
    problem: str, context: str, lines: tuple[str, str]
) -> tuple[str, str | None, bool]:
    """Message, hint, and whether the caret belongs where the construct was opened.

    Args:
        problem: what the parser says is wrong.
        context: what it was reading.
        lines: the line before the place, and the line itself.
    """
    before, line = lines
    if "'\\t'" in problem:
        return "a tab: YAML is indented with spaces", "replace the tab by spaces", False
    if "flow" in context and "${" in line:
        hint = 'inside [ ] and { } quote it: "${NAME}"'
        return "${...} cannot stand here without quotes", hint, False
    if "end of stream" in problem or "stream end" in problem:
        return _unclosed(context), None, True
    if "mapping values are not allowed" in problem:
        return _unexpected_colon(before, line)
    if "could not find expected ':'" in problem:
        return "a key without a value: a colon is missing", "write key: value", False
    if "cannot start any token" in problem:
        character = problem.split("'")[1] if problem.count("'") > 1 else "this character"
        return f"a value cannot begin with {character}", "put the value in quotes", False
    if "expected <block end>" in problem:
        hint = "keys of one mapping stand in one column"
        return INDENTATION, hint, False
    if "flow" in context and "expected ','" in problem:
        close = "]" if "sequence" in context else "}"
        return f"a comma or {close} is missing before this", None, False
    if "unknown escape" in problem:
        hint = "use single quotes, or write \\\\"
        return "an unknown escape in a double-quoted string", hint, False
    detail = ": ".join(part for part in (context, problem) if part)
    return f"not valid YAML ({detail})", None, False


def _unclosed(context: str) -> str:
    if "quoted" in context:
        return "this quotation mark is never closed"
    if "sequence" in context:
        return "this [ is never closed"
    if "mapping" in context:
        return "this { is never closed"
    return "the file ends in the middle of a value"


def _unexpected_colon(before: str, line: str) -> tuple[str, str | None, bool]:
    deeper = len(line) - len(line.lstrip()) > len(before) - len(before.lstrip())
    if deeper and before.strip() and not before.rstrip().endswith((":", "-")):
        hint = "keys of one mapping stand in one column"
        return INDENTATION, hint, False
    if before.strip() and ":" not in before:
        return "the line before has no colon, so it is no key", "write key: value", False
    return "a colon cannot stand here", "a text with a colon in it needs quotes", False
