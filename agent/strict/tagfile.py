"""`tags_file`: the tags of a source as a CSV, put into the tree as if they were written under `tags`."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from agent.errors import Finding
from agent.strict.yamltree import CONTROL, Node

KEY: Final = "tags_file"
TAG: Final = r"^[A-Za-z_][A-Za-z0-9_.-]{0,63}$"
MAX_BYTES: Final = 16 << 20
MAX_TAGS: Final = 100_000
MOST: Final = 100  # findings of one file
COLUMNS: Final = ("tag", "address")
DELIMITERS: Final = (",", ";", "\t")


def tag_files(tree: Node) -> Iterator[Path]:
    """Every `tags_file` that a configuration names."""
    for item in _sources(tree):
        if (named := item.get(KEY)) is not None and named.text:
            yield _path(named)


def with_tags(tree: Node, findings: list[Finding]) -> Node:
    """The tree with the rows of every `tags_file` under its source's `tags`; what is wrong with them is added.

    A row knows its file, line and column, so that whatever is found wrong with it later is told there.
    """
    if not any(tag_files(tree)):
        return tree
    sources = replace(tree.mapping["sources"], children=tuple(_with_rows(item, findings) for item in _sources(tree)))
    return replace(tree, children={**tree.mapping, "sources": sources})


def is_broken(item: Node, findings: Sequence[Finding]) -> bool:
    """Whether something is wrong with the `tags_file` of this source: which tags there are is not known then."""
    named = item.get(KEY)
    return named is not None and any(one.path == named.path or one.file == str(_path(named)) for one in findings)


def _sources(tree: Node) -> Sequence[Node]:
    sources = tree.get("sources")
    return sources.items if sources is not None else ()


def _path(named: Node) -> Path:
    return Path(named.file).parent / named.text


def _with_rows(item: Node, findings: list[Finding]) -> Node:
    """The entry of a source with what its file lists; what the file repeats of the configuration is a finding."""
    named = item.get(KEY)
    if named is None or not named.text:
        return item
    path = _path(named)
    rows, wrong = scan_tags(path, named)
    inline = item.get("tags")
    written = inline.mapping if inline is not None else {}
    wrong += [
        _at(str(path), row.line, "tag", f"is under tags in {item.file}, line {written[tag].line}, too", tag)
        for tag, row in rows.items()
        if tag in written
    ]
    findings += wrong[:MOST]
    if len(wrong) > MOST:
        findings.append(_at(str(path), wrong[MOST].line, "", f"{len(wrong) - MOST} more are not shown"))
    if inline is None:
        inline = Node(named.file, named.line, f"{item.path}.tags", children={})
    tags = replace(inline, children={**rows, **written})
    return replace(item, children={**item.mapping, "tags": tags})


def scan_tags(path: Path, named: Node) -> tuple[dict[str, Node], list[Finding]]:
    """Tag → its address, as far as the file can be read, and everything that is wrong with it."""
    file = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_BYTES + 1)
    except OSError as error:
        return {}, [named.finding(f"{file} cannot be read: {error.strerror}; check the path and its permissions")]
    if len(raw) > MAX_BYTES:
        return {}, [_at(file, 1, "", f"is larger than {MAX_BYTES >> 20} MiB; is this the list of tags?")]
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        return {}, [_at(file, line, "", "is not UTF-8; save it as CSV UTF-8", f"byte 0x{raw[error.start]:02x}")]
    lines = list(io.StringIO(text, newline=""))
    delimiter = _delimiter(lines[0]) if lines else None
    if delimiter is None:
        message = "the first line must name the columns tag and address, separated by comma, semicolon or tab"
        return {}, [_at(file, 1, "", message, lines[0].strip() if lines else "")]
    return _Rows(file, lines, delimiter).read()


class _Rows:
    """One pass over the rows of one file."""

    def __init__(self, file: str, lines: Sequence[str], delimiter: str) -> None:
        self._file = file
        self._rows = csv.reader(lines, delimiter=delimiter, strict=True)
        self._tags: dict[str, Node] = {}
        self._findings: list[Finding] = []

    def read(self) -> tuple[dict[str, Node], list[Finding]]:
        try:
            head = [cell.strip().lower() for cell in next(self._rows)]
            places = [head.index(column) for column in COLUMNS]
            for repeated in {one for one in COLUMNS if head.count(one) > 1}:
                self._wrong(repeated, "is the name of two columns")
            for cells in self._rows:
                if any(cell.strip() for cell in cells):
                    self._row(len(head), cells, places)
                if len(self._tags) > MAX_TAGS:
                    self._wrong("", f"has more than {MAX_TAGS} tags; split them over several sources")
                    break
        except csv.Error as error:
            self._wrong("", f"is no valid CSV: {error}")
        if not self._tags and not self._findings:
            self._wrong("", "lists no tags; the first line names the columns, each further line is a tag")
        return self._tags, self._findings

    def _row(self, columns: int, cells: Sequence[str], places: Sequence[int]) -> None:
        if len(cells) != columns:
            message = f"has {len(cells)} cells where the first line names {columns} columns; quote a cell that holds "
            self._wrong("", message + "the separator")
            return
        tag, address = (cells[place].strip() for place in places)
        if wrong := dict(_wrong(tag, address)):
            for column, message in wrong.items():
                self._wrong(column, message, tag if column == "tag" else address)
        elif tag in self._tags:
            self._wrong("tag", f"is in line {self._tags[tag].line}, too; each name stands for one address", tag)
        else:
            self._tags[tag] = Node(self._file, self._rows.line_num, "address", address, address)

    def _wrong(self, column: str, message: str, value: str = "") -> None:
        self._findings.append(_at(self._file, self._rows.line_num, column, message, value))


def _wrong(tag: str, address: str) -> Iterator[tuple[str, str]]:
    """Column → what is wrong in it."""
    if not re.match(TAG, tag):
        yield "tag", "is no name; write a letter, then letters, digits and _ . - only, 64 at most"
    if not address:
        yield "address", "is empty; write where the tag is found, in the protocol's own words"
    elif CONTROL.search(address) or "\n" in address or "\r" in address or "\t" in address:
        yield "address", "has a line break or a control character; remove it"


def _delimiter(head: str) -> str | None:
    """What separates the columns, by the first line."""
    for delimiter in DELIMITERS:
        names: Mapping[str, None] = dict.fromkeys(cell.strip(' "\r\n').lower() for cell in head.split(delimiter))
        if all(column in names for column in COLUMNS):
            return delimiter
    return None


def _at(file: str, line: int, column: str, message: str, value: str = "") -> Finding:
    return Finding(file, line, column, message, value[:80])
