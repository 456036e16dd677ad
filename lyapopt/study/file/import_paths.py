"""The shape of `package.module:name`, and what people write instead."""

from __future__ import annotations

import re

__all__ = ["import_path_hint", "is_import_path"]

_NAME = r"[A-Za-z_]\w*"
_IMPORT_PATH = re.compile(rf"{_NAME}(\.{_NAME})*:{_NAME}(\.{_NAME})*")
_FILE = re.compile(rf"(?:\./)?((?:{_NAME}/)*{_NAME})\.py:({_NAME}(?:\.{_NAME})*)")
_DOTTED = re.compile(rf"({_NAME}(?:\.{_NAME})*)\.({_NAME})")


def is_import_path(text: str) -> bool:
    """Whether the text has the form of an import path.

    >>> is_import_path("mypackage.train:build"), is_import_path("mypackage/train.py:build")
    (True, False)
    """
    return len(text) < 500 and ".py:" not in text and _IMPORT_PATH.fullmatch(text) is not None


def import_path_hint(text: str) -> str | None:
    """What was probably meant by something that is no import path.

    >>> import_path_hint("mypackage/train.py:build")
    'did you mean mypackage.train:build?'
    >>> import_path_hint("mypackage.train.build()")
    'did you mean mypackage.train:build?'
    """
    if len(text) >= 500:
        return None
    text = text.strip().removesuffix("()").replace(": ", ":")
    if match := _FILE.fullmatch(text):
        return f"did you mean {match[1].replace('/', '.')}:{match[2]}?"
    if match := _DOTTED.fullmatch(text):
        return f"did you mean {match[1]}:{match[2]}?"
    return f"did you mean {text}?" if is_import_path(text) else None
