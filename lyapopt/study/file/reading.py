"""From a file's bytes to a `Document`: YAML 1.2, duplicate keys refused, every place kept.

The parser's events are read directly, not through a constructor: that keeps the place of every
scalar, resolves types by YAML 1.2 alone, and bounds what a hostile file can cost (an alias bomb, a
thousand brackets) without recursion in the parser's own composer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.reader import ReaderError

from lyapopt.study.file.document import (
    Document,
    Issue,
    Mark,
    Path,
    Place,
    Source,
    StudyFileError,
    dotted,
)
from lyapopt.study.file.messages import INDENTATION, explain_syntax
from lyapopt.study.file.scalars import (
    EnvironmentReferenceError,
    resolve_plain,
    resolve_tagged,
    substitute,
)

__all__ = ["parse_yaml", "read_yaml_file", "split_lines"]

_MAX_BYTES = 1_000_000
_MAX_VALUES = 50_000
_MAX_DEPTH = 40
_TAG_PREFIX = "tag:yaml.org,2002:"
_LINE_BREAK = re.compile("\r\n|[\n\r\x85\u2028\u2029]")


def split_lines(text: str) -> tuple[str, ...]:
    """Lines as a YAML parser counts them (`str.splitlines` also splits at form feeds)."""
    return tuple(_LINE_BREAK.split(text))


def read_yaml_file(path: str | FilePath) -> Document:
    """Reads a YAML 1.2 file whose root is a mapping.

    Raises:
        StudyFileError: there is no such file, or it cannot be read, is empty, not UTF-8, not YAML.
            Lesser mistakes are in the document's `.issues`.
    """
    name = str(path)
    text = _decode(_read_bytes(FilePath(path), name), name)
    source = Source(name, split_lines(text))
    document = parse_yaml(text, source)
    if isinstance(document.data, dict) and (document.data or document.issues):
        return document
    start = Mark(source, 0, 0)
    if document.data is None or document.data == {}:
        raise StudyFileError([Issue("the file is empty", start, hint=_BEGIN)])
    what = "a list" if isinstance(document.data, list) else "a single value"
    message = f"a study file is a mapping of keys to values, this one is {what}"
    raise StudyFileError([Issue(message, document.mark(()), hint=_BEGIN)])


_BEGIN = "studies/xor.yaml is one to start from"


def _read_bytes(path: FilePath, name: str) -> bytes:
    try:
        with path.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        others = _yaml_files(path)
        hint = f"in that folder there are: {', '.join(others)}" if others else _BEGIN
        raise StudyFileError([Issue(f"{name}: no such file", hint=hint)]) from None
    except IsADirectoryError:
        others = _yaml_files(path / "any")
        hint = f"in it there are: {', '.join(others)}" if others else "name a file in it"
        raise StudyFileError([Issue(f"{name}: a folder, not a study file", hint=hint)]) from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StudyFileError([Issue(f"{name}: cannot be read ({reason})")]) from None
    if len(content) > _MAX_BYTES:
        message = f"{name}: larger than {_MAX_BYTES // 1000} kB: not a study file"
        raise StudyFileError([Issue(message)])
    return content


def _yaml_files(path: FilePath) -> list[str]:
    try:
        found = sorted(p.name for p in path.parent.iterdir() if p.suffix in (".yaml", ".yml"))
    except (OSError, ValueError):
        return []
    return found[:8]


def _decode(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start)
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1)
        text = content.decode("utf-8", errors="replace")
        utf16 = content[:2] in (b"\xff\xfe", b"\xfe\xff")
        found = "it looks like UTF-16" if utf16 else f"byte 0x{content[error.start]:02x}"
        source = Source(name, () if utf16 else split_lines(text))
        message = f"not UTF-8 ({found})"
        issue = Issue(message, Mark(source, line, column), hint="save the file as UTF-8")
        raise StudyFileError([issue]) from None


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
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            builder.take(event)
    except (YAMLError, ValueError, IndexError, RecursionError) as error:
        builder.issues.append(_syntax_issue(error, text, builder))
        raise StudyFileError(builder.issues) from None
    return builder.document()


def _syntax_issue(error: Exception, text: str, builder: _Builder) -> Issue:
    if isinstance(error, ReaderError):
        position = min(int(error.position), len(text))
        before = split_lines(text[:position])
        code = error.character if isinstance(error.character, int) else ord(error.character)
        message = f"the character U+{code:04X} is not allowed in YAML"
        return Issue(message, builder.at(len(before) - 1, len(before[-1])))
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        at, context = error.problem_mark, error.context_mark
        opened = builder.at(context.line, context.column) if context is not None else None
        lines = builder.lines_around(text, at.line)
        message, hint, at_opening = explain_syntax(error.problem or "", error.context or "", lines)
        if message == INDENTATION:  # the parser stumbles over the colon, the mistake is before it
            at.column = len(lines[1]) - len(lines[1].lstrip())
        mark = opened if at_opening and opened else builder.at(at.line, at.column)
        return Issue(message, mark, hint=hint)
    return Issue("not YAML that can be read", builder.at(0, 0))


@dataclass
class _Node:
    """A value under construction; a mapping has `keys` beside its `items`.

    A key of None is one that was refused; `broken` says that the value was.
    """

    mark: Mark
    value: Any = None
    items: list[Any] | None = None
    keys: list[tuple[str | None, Mark]] | None = None
    closed: bool = False
    pending: tuple[str | None, Mark] | None = None
    broken: bool = False
    seen: dict[str, Mark] = field(default_factory=dict)


class _Builder:
    """Takes the parser's events one by one and grows the tree of nodes."""

    def __init__(self, source: Source, line: int, column: int) -> None:
        self.source, self.line, self.column = source, line, column
        self.issues: list[Issue] = []
        self.root: _Node | None = None
        self.documents = 0
        self._open: list[_Node] = []
        self._skipped = 0  # depth inside a key that is no string
        self._anchors: dict[str, _Node] = {}
        self._count = 0

    def at(self, line: int, column: int) -> Mark:
        shift = self.column if line == 0 else 0
        return Mark(self.source, self.line + line, column + shift)

    def lines_around(self, text: str, line: int) -> tuple[str, str]:
        lines = split_lines(text)
        here = lines[line] if line < len(lines) else ""
        return (lines[line - 1] if 0 < line <= len(lines) else "", here)

    # events

    def take(self, event: Event) -> None:
        mark = self.at(event.start_mark.line, event.start_mark.column)
        if isinstance(event, DocumentStartEvent):
            self._start_document(event, mark)
        elif isinstance(event, MappingStartEvent | SequenceStartEvent):
            self._start_collection(event, mark)
        elif isinstance(event, MappingEndEvent | SequenceEndEvent):
            self._end_collection()
        elif isinstance(event, ScalarEvent):
            if not self._skipped:
                self._scalar(event, mark)
        elif isinstance(event, AliasEvent) and not self._skipped:
            self._alias(str(event.anchor), mark)
        elif isinstance(event, DocumentEndEvent):
            self._open.clear()

    def _start_document(self, event: DocumentStartEvent, mark: Mark) -> None:
        self.documents += 1
        if self.documents == 2:
            self._fail("a second document begins here: a study file holds one", mark)
        if event.version is not None and tuple(event.version) == (1, 1):
            self._fail("study files are YAML 1.2: remove the line %YAML 1.1", mark)

    def _start_collection(self, event: MappingStartEvent | SequenceStartEvent, mark: Mark) -> None:
        if self._skipped or self._expects_key():
            if not self._skipped:
                self.issues.append(Issue("a key is a name, not a list or a mapping", mark))
            self._skipped += 1
            return
        kind = "map" if isinstance(event, MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _TAG_PREFIX + kind):
            self.issues.append(_tag_issue(str(event.tag), mark))
        if len(self._open) >= _MAX_DEPTH:
            self._fail(f"nested more than {_MAX_DEPTH} deep", mark)
        keys: list[tuple[str | None, Mark]] | None = [] if kind == "map" else None
        node = _Node(mark, items=[], keys=keys)
        self._attach(node, event.anchor)
        self._open.append(node)

    def _end_collection(self) -> None:
        if self._skipped:
            self._skipped -= 1
            if not self._skipped:
                self._open[-1].pending = (None, self._open[-1].mark)
            return
        self._open.pop().closed = True

    def _scalar(self, event: ScalarEvent, mark: Mark) -> None:
        if self._expects_key():
            self._key(event, mark)
            return
        pending = self._open[-1].pending if self._open else None
        if not event.value and event.style is None and pending is not None:
            mark = pending[1]  # the parser puts an empty value after the blank lines below it
        before = len(self.issues)
        value = self._value(event, mark)
        broken = len(self.issues) > before
        self._attach(_Node(mark, value, closed=True, broken=broken), event.anchor)

    def _key(self, event: ScalarEvent, mark: Mark) -> None:
        mapping = self._open[-1]
        name = str(event.value)
        before = len(self.issues)
        plain = event.style is None and event.tag is None
        if plain and name == "<<":
            self.issues.append(
                Issue("merge keys (<<) are YAML 1.1: write the keys out", mark, path="<<")
            )
        elif plain and not isinstance(resolve_plain(name), str):
            shown = name or "nothing"
            hint = f'write "{name}" if it is a name' if name else None
            self.issues.append(Issue(f"a key is a name, got {shown}", mark, hint=hint))
        elif name in mapping.seen:
            first = mapping.seen[name].line + 1
            message = f"the key {name} is here twice (first on line {first})"
            self.issues.append(Issue(message, mark))
        mapping.seen.setdefault(name, mark)
        mapping.pending = (name if len(self.issues) == before else None, mark)

    def _alias(self, anchor: str, mark: Mark) -> None:
        if self._expects_key():
            self.issues.append(Issue("a key cannot be an alias", mark))
            self._open[-1].pending = (None, mark)
            return
        target = self._anchors.get(anchor)
        if target is None or not target.closed:
            known = "refers to itself" if target else "refers to no anchor before it"
            self.issues.append(
                Issue(f"the alias *{anchor} {known}", mark, hint='write "*" in quotes if text')
            )
            target = _Node(mark, broken=True)
        self._attach(replace(target, mark=mark, closed=True), None)

    # values

    def _value(self, event: ScalarEvent, mark: Mark) -> Any:
        text, tag = str(event.value), event.tag
        text = self._filled(text, event, mark)
        if tag is not None and tag != "!":
            try:
                return resolve_tagged(text, str(tag).removeprefix(_TAG_PREFIX))
            except ValueError:
                self.issues.append(_tag_issue(str(tag), mark))
                return None
        return resolve_plain(text) if event.style is None and tag is None else text

    def _filled(self, text: str, event: ScalarEvent, mark: Mark) -> str:
        if "${" not in text:
            return text
        try:
            return substitute(text)
        except EnvironmentReferenceError as problem:
            where = self._find(problem.reference, event, mark)
            hint = "set it, or give a default: ${NAME:-default}"
            self.issues.append(Issue(str(problem), where, hint=hint))
            return text

    def _find(self, reference: str, event: ScalarEvent, mark: Mark) -> Mark:
        """Where `reference` stands: a block or folded scalar may run over several lines."""
        last = self.line + event.end_mark.line
        for line in range(mark.line, min(last, len(self.source.lines) - 1) + 1):
            start = mark.column if line == mark.line else 0
            column = self.source.lines[line].find(reference, start)
            if column >= 0:
                return Mark(self.source, line, column)
        return mark

    # the tree

    def _expects_key(self) -> bool:
        return bool(self._open) and self._open[-1].keys is not None and not self._open[-1].pending

    def _attach(self, node: _Node, anchor: Any) -> None:
        if anchor is not None:
            self._anchors[str(anchor)] = node
        if not self._open:
            if self.root is None:
                self.root = node
            return
        parent = self._open[-1]
        assert parent.items is not None
        if parent.keys is not None:
            assert parent.pending is not None
            parent.keys.append(parent.pending)
            parent.pending = None
        parent.items.append(node)

    def document(self) -> Document:
        """The finished tree as plain data; aliases are copied out, within limits."""
        document = Document(None, issues=self.issues)
        document.data = self._plain(self.root or _Node(self.at(0, 0)), (), None, document)
        return document

    def _plain(self, node: _Node, path: Path, key: Mark | None, document: Document) -> Any:
        self._count += 1
        if self._count > _MAX_VALUES:
            self._fail(f"more than {_MAX_VALUES} values, aliases written out", node.mark, path)
        if len(path) > _MAX_DEPTH:
            self._fail(f"nested more than {_MAX_DEPTH} deep", node.mark)
        document.places[path] = Place(node.mark, key)
        if node.broken:
            document.broken.add(path)
        if node.items is None:
            return node.value
        if node.keys is None:
            return [
                self._plain(item, (*path, i), None, document) for i, item in enumerate(node.items)
            ]
        data: dict[str, Any] = {}
        for (name, mark), item in zip(node.keys, node.items, strict=True):
            if name is not None:
                data[name] = self._plain(item, (*path, name), mark, document)
        return data

    def _fail(self, message: str, mark: Mark, path: Path = ()) -> None:
        self.issues.append(Issue(message, mark, path=dotted(path)))
        raise StudyFileError(self.issues)


def _tag_issue(tag: str, mark: Mark) -> Issue:
    short = tag.replace(_TAG_PREFIX, "!!")
    return Issue(f"the tag {short} has no meaning in a study file here", mark)
