"""From YAML 1.2 to a `Document`: the place of every part, and every mistake at once.

ruamel composes the text into nodes, which know where they stand. Their values are made here and not
by its constructor, which takes `1_000` for a number, stops at the first mistake, and resolves types
before `${ENV}` is filled in.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.composer import Composer
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionStartEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.resolver import VersionedResolver
from ruamel.yaml.tag import Tag

from lyapopt.study.file.document import (
    Document,
    Issue,
    Mark,
    Path,
    Place,
    Plain,
    Scalar,
    Source,
    StudyFileError,
    dotted,
)
from lyapopt.study.file.messages import INDENTATION, explain_syntax

__all__ = ["parse_yaml", "resolve", "split_lines", "substitute"]

_MAX_VALUES = 50_000
_MAX_DEPTH = 40
_TOO_DEEP = f"nested more than {_MAX_DEPTH} deep"
_TAG_PREFIX = "tag:yaml.org,2002:"
_PLAIN = "?"  # YAML's own name for the tag of what is neither tagged nor quoted
_REFUSED = "!refused"  # an alias that stands for nothing; the node's value says why
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def split_lines(text: str) -> tuple[str, ...]:
    """Lines as a YAML parser counts them (`str.splitlines` also splits at form feeds)."""
    return tuple(_LINE_BREAK.split(text))


def parse_yaml(text: str, source: Source, *, line: int = 0, column: int = 0) -> Document:
    """Parses one YAML document.

    Args:
        text: the YAML text.
        source: what reports name and quote.
        line: line of the source at which the text begins.
        column: column at which its first line begins, for a value inside a longer text.

    Returns:
        the data; what does not keep it from being read (a key that is there twice, an environment
        variable that is not set) is in `.issues`, so that a report can list it with the rest.

    Raises:
        StudyFileError: the syntax is broken, or the text is out of all bounds.
    """
    builder = _Builder(source, line, column)
    yaml = YAML(typ="safe", pure=True)  # "rt" gives the same nodes, and comments besides
    yaml.Composer, yaml.Resolver = _BoundedComposer, _NoTypes
    try:
        return builder.document(yaml.compose(text))
    except (YAMLError, ValueError, IndexError, RecursionError) as error:
        before = builder.document(yaml.composer.root).issues
        raise StudyFileError([*before, _syntax_issue(error, text, builder)]) from None


class _RefusedError(MarkedYAMLError):
    """What is YAML, and refused all the same; `problem` is in the user's words."""


class _NoTypes(VersionedResolver):
    """Leaves untagged scalars unresolved: their types are known when variables are filled in."""

    def resolve(self, node_type: Any, value: Any, implicit: Any) -> Any:
        is_plain = node_type is ScalarNode and implicit[0]
        return Tag(suffix=_PLAIN) if is_plain else super().resolve(node_type, value, implicit)


class _BoundedComposer(Composer):
    """Bounds what a hostile file can cost, and leaves aliases the place where they stand.

    Attributes:
        root: the mapping or list that is being composed, with the entries that are complete.
    """

    root: Node | None = None
    values = level = 0

    def compose_document(self) -> Any:
        event = self.parser.peek_event()
        if event.version is not None and tuple(event.version) == (1, 1):
            message = "files here are YAML 1.2: remove the line %YAML 1.1"
            raise _RefusedError(problem=message, problem_mark=event.start_mark)
        self.warn_double_anchors = False  # YAML 1.2 allows them
        return super().compose_document()

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.parser.peek_event()
        if self.level == 1:
            self.root = parent
        self.values += 1
        if self.values > 2 * _MAX_VALUES:  # keys count here
            message = f"more than {_MAX_VALUES} values"
            raise _RefusedError(problem=message, problem_mark=event.start_mark)
        if self.level >= _MAX_DEPTH and isinstance(event, CollectionStartEvent):
            raise _RefusedError(problem=_TOO_DEEP, problem_mark=event.start_mark)
        if isinstance(event, AliasEvent):
            return self._aliased(self.parser.get_event(), parent, index)
        self.level += 1
        node = super().compose_node(parent, index)
        self.level -= 1
        return node

    def _aliased(self, event: AliasEvent, parent: Any, index: Any) -> Node:
        target: Any = self.anchors.get(event.anchor)
        message = None
        if isinstance(parent, MappingNode) and index is None:
            message = "a key cannot be an alias"
        elif target is None:
            message = f"the alias *{event.anchor} refers to no anchor before it"
        elif target.end_mark is None:
            message = f"the alias *{event.anchor} refers to itself"
        if message is not None:
            return ScalarNode(_REFUSED, message, event.start_mark)
        node: Node = copy(target)
        node.start_mark = event.start_mark
        return node


def _syntax_issue(error: Exception, text: str, builder: _Builder) -> Issue:
    lines = split_lines(text)
    if isinstance(error, ReaderError):
        read = split_lines(text[: min(int(error.position), len(text))])
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{code:04X} is not allowed in YAML"
        return Issue(message, builder.at(len(read) - 1, len(read[-1])))
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return Issue("not YAML that can be read", builder.at(0, 0))
    line, column, opening = error.problem_mark.line, error.problem_mark.column, error.context_mark
    if isinstance(error, _RefusedError):
        return Issue(error.problem, builder.at(line, column))
    here = lines[line] if line < len(lines) else ""
    above = _line_with_text_above(lines, line)
    before = None if above is None else _first_without_colon(lines, above)
    begun = lines[opening.line] if opening is not None and opening.line < len(lines) else ""
    mistake = explain_syntax(
        error.problem or "",
        error.context or "",
        lines[before] if before is not None else "",
        here,
        begun,
    )
    if mistake.message == INDENTATION:  # the parser stumbles over the colon, what is wrong is left
        column = len(here) - len(here.lstrip())
    if mistake.at == "opening" and opening is not None:
        line, column = opening.line, opening.column
    elif mistake.at == "before" and before is not None:
        line, column = before, len(lines[before]) - len(lines[before].lstrip())
    elif mistake.at == "end" and above is not None:
        line, column = above, len(lines[above].rstrip())
    return Issue(mistake.message, builder.at(line, column), hint=mistake.hint)


def _line_with_text_above(lines: Sequence[str], line: int) -> int | None:
    for above in range(min(line, len(lines)) - 1, -1, -1):
        text = lines[above].strip()
        if text and not text.startswith("#"):
            return above
    return None


def _first_without_colon(lines: Sequence[str], line: int) -> int:
    """The first of the lines that YAML takes for one text with this one."""
    first: int | None = line
    while first is not None and ":" not in lines[first] and lines[first].lstrip()[:1] != "-":
        line, first = first, _line_with_text_above(lines, first)
    return line


class _Builder:
    """Makes plain data of nodes, and notes where each part stands and what is wrong with it."""

    def __init__(self, source: Source, line: int, column: int) -> None:
        self.source, self.line, self.column = source, line, column
        self._made = Document(None)
        self._count = 0

    def at(self, line: int, column: int) -> Mark:
        shift = self.column if line == 0 else 0
        return Mark(self.source, self.line + line, column + shift)

    def document(self, root: Node | None) -> Document:
        """The tree as plain data; aliases are copied out, within limits."""
        if root is None:
            self._made.places[()] = Place(self.at(0, 0))
        else:
            self._made.data = self._value(root, (), None)
        return self._made

    def _value(self, node: Node, path: Path, key: Mark | None) -> Plain:
        mark = self._mark(node)
        if key is not None and isinstance(node, ScalarNode) and not node.value and not node.style:
            mark = key  # the parser puts an empty value after the blank lines below it
        self._count += 1
        if self._count > _MAX_VALUES:
            self._issue(f"more than {_MAX_VALUES} values, aliases written out", mark, path=path)
            raise StudyFileError(self._made.issues)
        if len(path) > _MAX_DEPTH:
            self._issue(_TOO_DEEP, mark)
            raise StudyFileError(self._made.issues)
        self._made.places[path] = Place(mark, key)
        if isinstance(node, ScalarNode):
            before = len(self._made.issues)
            value = self._scalar(node, mark)
            if len(self._made.issues) > before:
                self._made.broken.add(path)
            return value
        if node.tag not in (_TAG_PREFIX + "map", _TAG_PREFIX + "seq"):
            self._issue(_no_meaning(node), mark)
        if isinstance(node, SequenceNode):
            return [self._value(item, (*path, i), None) for i, item in enumerate(node.value)]
        return self._mapping(node, path)

    def _mapping(self, node: Node, path: Path) -> dict[str, Plain]:
        data: dict[str, Plain] = {}
        seen: dict[str, Mark] = {}
        for key, item in node.value:
            mark = self._mark(key)
            problem, hint = _key_problem(key, seen)
            if problem is not None:
                self._issue(problem, mark, hint)
            else:
                seen[key.value] = mark
                data[key.value] = self._value(item, (*path, key.value), mark)
        return data

    def _scalar(self, node: ScalarNode, mark: Mark) -> Scalar:
        if node.tag == _REFUSED:
            self._issue(node.value, mark, 'write "*" in quotes if text')
            return None
        text = node.value
        try:
            text = substitute(text)
        except EnvironmentReferenceError as problem:
            hint = "set it, or give a default: ${NAME:-default}"
            self._issue(str(problem), self._find(problem.reference, node, mark), hint)
        try:
            return resolve(text, None if node.tag == _PLAIN else node.tag)
        except ValueError:
            self._issue(_no_meaning(node), mark)
            return None

    def _find(self, reference: str, node: ScalarNode, mark: Mark) -> Mark:
        """Where `reference` stands: a block or folded scalar may run over several lines."""
        last = self.line + node.end_mark.line
        for line in range(mark.line, min(last, len(self.source.lines) - 1) + 1):
            start = mark.column if line == mark.line else 0
            column = self.source.lines[line].find(reference, start)
            if column >= 0:
                return Mark(self.source, line, column)
        return mark

    def _mark(self, node: Node) -> Mark:
        return self.at(node.start_mark.line, node.start_mark.column)

    def _issue(self, message: str, mark: Mark, hint: str | None = None, path: Path = ()) -> None:
        self._made.issues.append(Issue(message, mark, dotted(path), hint))


def _key_problem(node: Node, seen: Mapping[str, Mark]) -> tuple[str | None, str | None]:
    """What is wrong with a key, and advice."""
    if not isinstance(node, ScalarNode):
        return "a key is a name, not a list or a mapping", None
    name = node.value
    if node.tag == _REFUSED:
        return name, None
    if node.tag == _PLAIN and name == "<<":
        return "merge keys (<<) are YAML 1.1: write the keys out", None
    if node.tag == _PLAIN and not isinstance(resolve(name), str):
        hint = f'write "{name}" if it is a name' if name else None
        return f"a key is a name, got {name or 'nothing'}", hint
    if name in seen:
        return f"the key {name} is here twice (first on line {seen[name].line + 1})", None
    return None, None


def _no_meaning(node: Node) -> str:
    return f"the tag {str(node.tag).replace(_TAG_PREFIX, '!!')} has no meaning here"


# scalars

_TRUE = ("true", "True", "TRUE")
_CORE_SCHEMA: tuple[tuple[str, re.Pattern[str], Callable[[str], Scalar]], ...] = (
    ("null", re.compile(r"~|null|Null|NULL|"), lambda text: None),
    ("bool", re.compile(r"true|True|TRUE|false|False|FALSE"), lambda text: text in _TRUE),
    ("int", re.compile(r"[-+]?[0-9]+"), int),
    ("int", re.compile(r"0o[0-7]+"), lambda text: int(text[2:], 8)),
    ("int", re.compile(r"0x[0-9a-fA-F]+"), lambda text: int(text[2:], 16)),
    ("float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"), float),
    (
        "float",
        re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)"),
        lambda text: float(text.replace(".", "")),
    ),
)
_REFERENCE = re.compile(r"\$\$\{|\$\{(?:([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}|[^}]*\}?)")


def resolve(text: str, tag: str | None = None) -> Scalar:
    """The value of an unquoted scalar: YAML 1.2, so `1e-5` is a number and `off` a string.

    Args:
        text: the scalar.
        tag: the type that it must have, `!` or `tag:yaml.org,2002:str` for a string.

    Raises:
        ValueError: the text has no such type, or the tag is not one of YAML's own.

    Example:
        >>> [resolve(text) for text in ("1e-5", "off", "no", "017", "0o17", "12:30", "1_000", "")]
        [1e-05, 'off', 'no', 17, 15, '12:30', '1_000', None]
    """
    required = None if tag is None else tag.removeprefix(_TAG_PREFIX)
    if len(text) <= 1000:  # int() is quadratic, and no number is that long
        for name, pattern, value in _CORE_SCHEMA:
            if required in (None, name) and pattern.fullmatch(text):
                return value(text)
    if required in (None, "str", "!"):
        return text
    raise ValueError(f"not a value that {tag} can have")


class EnvironmentReferenceError(Exception):
    """A `${...}` that cannot be filled; `reference` is how it is written."""

    def __init__(self, message: str, reference: str) -> None:
        super().__init__(message)
        self.reference = reference


def substitute(text: str, environment: Mapping[str, str] | None = None) -> str:
    """Fills `${NAME}` and `${NAME:-default}`; the default also serves for an empty variable.

    `$${` stands for a literal `${`; a `$` that no `{` follows is left alone.

    Raises:
        EnvironmentReferenceError: a variable that is not set and has no default, or `${` that is
            not followed by a name and `}`.

    Example:
        >>> substitute("sqlite:///${DIR:-runs}/${NAME}.db", {"NAME": "digits"})
        'sqlite:///runs/digits.db'
    """
    variables = os.environ if environment is None else environment

    def fill(match: re.Match[str]) -> str:
        reference, name, default = match.group(0), match.group(1), match.group(2)
        if reference == "$${":
            return "${"
        if name is None:
            raise EnvironmentReferenceError(
                f"{reference} is not ${{NAME}} or ${{NAME:-default}}", reference
            )
        value = variables.get(name)
        if default is not None and not value:
            return str(default)
        if value is None:
            raise EnvironmentReferenceError(
                f"the environment variable {name} is not set", reference
            )
        return value

    return _REFERENCE.sub(fill, text)
