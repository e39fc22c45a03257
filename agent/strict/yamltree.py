"""Strict YAML → a tree of nodes that know their file, line and path.

Configuration, mappings and master data are read the same way, so that ``lot: 0123`` stays ``0123`` everywhere:
scalars follow the YAML 1.2 core schema, and everything that makes a file mean something else than it shows
(duplicate keys, anchors, tags, merge keys, a second document) is a finding.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from agent.errors import ConfigError, Finding

MAX_BYTES = 256 * 1024
MAX_DEPTH = 20

Scalar = str | int | Decimal | bool | None

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the C parser is 13 times faster
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,39})")
DECIMAL = re.compile(r"[-+]?(?=[0-9.])(0|[1-9][0-9]{0,39})?(\.[0-9]{1,40})?([eE][-+]?([12]?[0-9]|30))?")
_WORDS: Mapping[str, Scalar] = MappingProxyType({"": None, "~": None, "null": None, "true": True, "false": False})
CONTROL = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_URL_PASSWORD = re.compile(r"(?<=//)[^/@\s]+@")


@dataclass(frozen=True, slots=True)
class Node:
    """One value of a file. `children` is a mapping, a sequence, or None for a scalar.

    `line` is where a person looks: the line of the key, or of the list's dash content. `text` is the scalar as
    written, so that a field which wants text gets ``1.10`` and one which wants a number gets Decimal("1.10").
    """

    file: str
    line: int
    path: str
    value: Scalar = None
    text: str = ""
    children: Mapping[str, Node] | Sequence[Node] | None = None

    @property
    def mapping(self) -> Mapping[str, Node]:
        """The children by key; empty when this is no mapping."""
        return self.children if isinstance(self.children, Mapping) else {}

    @property
    def items(self) -> Sequence[Node]:
        """The children in order; empty when this is no list."""
        return self.children if isinstance(self.children, Sequence) else ()

    def get(self, *path: str | int) -> Node | None:
        """The node below, or None: ``tree.get("store", "path")``, ``tree.get("sources", 0)``."""
        node: Node | None = self
        for part in path:
            if node is None:
                return None
            if isinstance(part, int):
                node = node.items[part] if part < len(node.items) else None
            else:
                node = node.mapping.get(part)
        return node

    def pick(self, wanted: Callable[[str], bool]) -> Node:
        """The same mapping with only the wanted keys."""
        return replace(self, children={key: child for key, child in self.mapping.items() if wanted(key)})

    def scalars(self) -> Iterator[Node]:
        """Every scalar at or below this node, in the order of the file."""
        if self.children is None:
            yield self
        for child in self.mapping.values() if isinstance(self.children, Mapping) else self.items:
            yield from child.scalars()

    def plain(self) -> Any:
        """Dicts, lists and scalars: int, Decimal, str, bool, None."""
        if isinstance(self.children, Mapping):
            return {key: child.plain() for key, child in self.children.items()}
        if isinstance(self.children, Sequence):
            return [child.plain() for child in self.children]
        return self.value

    def finding(self, message: str, value: str | None = None) -> Finding:
        """What is wrong here. `value` defaults to the text as written, without passwords of URLs."""
        shown = self.text if value is None else value
        return Finding(self.file, self.line, self.path, message, _URL_PASSWORD.sub("…@", shown[:80]))


def read_yaml(path: str | Path, example: str = "edge_config/") -> Node:
    """The tree of one file. Raises ConfigError with every finding; `example` is where an empty file is sent to."""
    node, findings = scan_yaml(path, example)
    if node is None or findings:
        raise ConfigError(findings)
    return node


def scan_yaml(path: str | Path, example: str = "edge_config/") -> tuple[Node | None, list[Finding]]:
    """The tree of one file as far as it can be read, and what is wrong with it."""
    file = str(path)
    try:
        with Path(path).open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return None, [Finding(file, 1, "", f"cannot be read: {error.strerror}; check the path and its permissions")]
    if len(raw) > MAX_BYTES:
        return None, [Finding(file, 1, "", f"is larger than {MAX_BYTES // 1024} KiB; split it or use CSV")]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return None, [Finding(file, line, "", "is not UTF-8; save the file as UTF-8", f"byte 0x{raw[error.start]:02x}")]
    control = CONTROL.search(text)
    if control:
        line = text.count("\n", 0, control.start()) + 1
        return None, [Finding(file, line, "", "has a control character; remove it", f"0x{ord(control[0]):02x}")]
    return _Reading(file, text, example).tree()


class _UnreadableError(Exception):
    """Reading cannot go on after this finding."""


class _Reading:
    """One pass over the parser's events. Depth is counted before it can hurt."""

    def __init__(self, file: str, text: str, example: str) -> None:
        self.file = file
        self.example = example
        self.lines = text.split("\n")
        self.findings: list[Finding] = []
        self.events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_LOADER))

    def tree(self) -> tuple[Node | None, list[Finding]]:
        root = None
        try:
            for event in self.events:
                if isinstance(event, yaml.DocumentStartEvent):
                    if root is not None:
                        self.add(event, "", "a second document starts here; one file holds one document")
                        break
                    self.directives(event)
                    root = self.node(next(self.events), "", 0)
        except _UnreadableError:
            pass
        except yaml.MarkedYAMLError as error:
            self.syntax(error)
        if root is not None and root.children is None and root.value is None:
            root = None
        if root is None and not self.findings:
            self.findings.append(Finding(self.file, 1, "", f"is empty; an example is in {self.example}"))
        return root, self.findings

    def node(self, event: Any, path: str, depth: int, line: int | None = None) -> Node:
        """The node that starts with this event; `line` is that of its key."""
        at = line or _line(event)
        if isinstance(event, yaml.AliasEvent):
            self.add(event, path, "aliases are not allowed; write the value out", f"*{event.anchor}")
            return Node(self.file, at, path)
        if event.anchor is not None:
            self.add(event, path, "anchors are not allowed; write the value out where it is needed", f"&{event.anchor}")
        if event.tag is not None:
            self.add(event, path, "tags are not allowed; write the plain value", event.tag)
        if isinstance(event, yaml.ScalarEvent):
            value = event.value if event.style else _resolve(event.value)
            return Node(self.file, at, path, value, event.value)
        if depth >= MAX_DEPTH:
            self.add(event, path, f"is nested deeper than {MAX_DEPTH} levels")
            raise _UnreadableError
        if isinstance(event, yaml.SequenceStartEvent):
            return Node(self.file, at, path, children=self.sequence(path, depth))
        return Node(self.file, at, path, children=self.mapping(path, depth))

    def sequence(self, path: str, depth: int) -> Sequence[Node]:
        items: list[Node] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.node(event, f"{path}[{len(items)}]", depth + 1))
        return tuple(items)

    def mapping(self, path: str, depth: int) -> Mapping[str, Node]:
        children: dict[str, Node] = {}
        before = Node(self.file, 0, path)
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            key = self.node(event, path, depth + 1)
            name = key.text if key.children is None else ""
            here = f"{path}.{name}" if path else name
            child = self.node(next(self.events), here, depth + 1, _line(event))
            if self.after_a_comma(key, child, before):
                self.add(
                    event, before.path, "a comma ends the number here; write a decimal point", f"{before.text},{name}"
                )
                continue
            before = child
            if key.children is not None:
                self.add(event, path, "a key must be a single word, not a list or mapping")
            elif name == "<<" and not getattr(event, "style", None):
                self.add(event, path, "merge keys are not allowed; write the values out", "<<")
            elif name in children:
                self.add(event, here, f"duplicate key; it is already given in line {children[name].line}")
            else:
                children[name] = child
        return MappingProxyType(children)

    @staticmethod
    def after_a_comma(key: Node, child: Node, before: Node) -> bool:
        """Whether ``{a: 1,5}`` was written: to YAML that is a: 1 and a key 5 without a value."""
        whole = isinstance(before.value, int | Decimal) and not isinstance(before.value, bool)
        return whole and before.line == key.line and key.text.isdecimal() and child.children is None and not child.text

    def directives(self, event: yaml.DocumentStartEvent) -> None:
        if event.version or event.tags:
            self.add(event, "", "directives are not allowed; remove the line that starts with %")

    def add(self, event: Any, path: str, message: str, value: str = "") -> None:
        self.findings.append(Finding(self.file, _line(event), path, message, value[:80]))

    def syntax(self, error: yaml.MarkedYAMLError) -> None:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        written = self.lines[line - 1] if line <= len(self.lines) else ""
        indent = written[: len(written) - len(written.lstrip())]
        message = f"is no valid YAML: {error.problem}; look at the indentation and quotes here and one line above"
        opens = next((number for number, text in enumerate(self.lines[:line], 1) if _opens_a_quote(text)), line)
        if opens < line:
            message += f"; does the quote of line {opens} end?"
        if "\t" in indent:
            message = "a tab in the indentation; use spaces"
        self.findings.append(Finding(self.file, line, "", message))


def _opens_a_quote(line: str) -> bool:
    """Whether a double quote of this line is not closed in it; comments aside."""
    return re.sub(r"(^|\s)#.*", "", line).count('"') % 2 == 1


def _line(event: Any) -> int:
    """The line where an event of the parser starts, counted from 1."""
    return int(event.start_mark.line) + 1


def _resolve(text: str) -> Scalar:
    """The value of a plain scalar by the YAML 1.2 core schema, booleans and numbers in decimal notation only."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if text[-1].isdigit() and DECIMAL.fullmatch(text):
        return Decimal(text)
    return text
