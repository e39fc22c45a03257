"""Tags in memory: loaded from an export, read and written by scripts, bound by views."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PROVIDER = "[default]"


class UnknownTagError(KeyError):
    """There is no tag of this path."""

    def __str__(self) -> str:
        return f"there is no tag {self.args[0]}"


@dataclass(slots=True)
class Quality:
    """Good or not, as `QualityCode` says it."""

    good: bool = True

    def isGood(self) -> bool:
        """Whether the value may be used."""
        return self.good

    def __str__(self) -> str:
        return "Good" if self.good else "Bad"


@dataclass(slots=True)
class QualifiedValue:
    """A value, whether it may be used, and since when it is so."""

    value: Any
    quality: Quality
    timestamp: datetime


class Dataset:
    """A table: names of columns, rows of values. What `system.dataset.toDataSet` makes."""

    def __init__(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        self.columns, self.rows = list(columns), [list(row) for row in rows]

    def getRowCount(self) -> int:
        """Rows."""
        return len(self.rows)

    rowCount = property(getRowCount)

    def getColumnNames(self) -> list[str]:
        """Columns."""
        return self.columns

    def getValueAt(self, row: int, column: int | str) -> Any:
        """One cell."""
        return self.rows[row][self.columns.index(column) if isinstance(column, str) else column]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dataset) and (self.columns, self.rows) == (other.columns, other.rows)

    def __hash__(self) -> int:
        return id(self)

    def plain(self) -> list[dict[str, Any]]:
        """As a list of rows by name."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]


class Tags:
    """All tags of one provider. `changed` is called after each write that changed something."""

    def __init__(self, changed: Callable[[], None]) -> None:
        self._values: dict[str, QualifiedValue] = {}
        self._types: dict[str, str] = {}
        self._changed = changed
        self._lock = threading.Lock()

    def load(self, path: Path) -> None:
        """Add the tags of an export."""
        root = json.loads(path.read_text(encoding="utf-8"))
        for name, tag in _atomic(root, "", _types(root)):
            self._types[name] = tag.get("dataType", "Int4")
            value = tag.get("value")
            if self._types[name] == "DataSet":
                value = _dataset(value)
            good = tag.get("valueSource", "memory") == "memory"
            self._values[name] = QualifiedValue(value, Quality(good), datetime.now(UTC))

    def read(self, path: str) -> QualifiedValue:
        """Raises UnknownTagError."""
        try:
            return self._values[_short(path)]
        except KeyError:
            raise UnknownTagError(path) from None

    def write(self, path: str, value: Any) -> None:
        """A value of good quality, from now. Raises UnknownTagError."""
        name = _short(path)
        if name not in self._values:
            raise UnknownTagError(path)
        with self._lock:
            before = self._values[name]
            same = before.value == value and before.quality.good
            if not same:
                self._values[name] = QualifiedValue(value, Quality(), datetime.now(UTC))
        if not same:
            self._changed()

    def paths(self) -> list[str]:
        """Every tag."""
        return sorted(PROVIDER + name for name in self._values)


def _short(path: str) -> str:
    return path.removeprefix(PROVIDER) if path.startswith(PROVIDER) else path.lstrip("~/")


def _atomic(node: Any, above: str, types: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Path and definition of each tag; instances of types have the tags of their type, and what they say themselves."""
    name = node.get("name", "")
    path = f"{above}/{name}" if above and name else name or above
    if node.get("tagType") == "AtomicTag":
        yield path, node
    elif name != "_types_":
        tags = node.get("tags", [])
        if node.get("tagType") == "UdtInstance":
            tags = _merged(types[node["typeId"]].get("tags", []), tags)
        for one in tags:
            yield from _atomic(one, path, types)


def _types(node: Any) -> dict[str, Any]:
    """The types of an export by the name that instances give them. Folders of types are not needed here."""
    folders = [one for one in node.get("tags", []) if one.get("name") == "_types_"]
    return {one["name"]: one for folder in folders for one in folder["tags"] if one.get("tagType") == "UdtType"}


def _merged(of_type: Sequence[Any], own: Sequence[Any]) -> list[Any]:
    """The tags of a type, each with what an instance says otherwise."""
    said = {one["name"]: one for one in own}
    found = []
    for one in of_type:
        mine = said.pop(one["name"], {})
        tags = _merged(one["tags"], mine.get("tags", [])) if "tags" in one else None
        found.append({**one, **mine, **({"tags": tags} if tags is not None else {})})
    return [*found, *said.values()]


def _dataset(value: Any) -> Dataset:
    """From the export's JSON text, or an empty one."""
    found = json.loads(value) if isinstance(value, str) and value else value or {}
    columns = [one["name"] if isinstance(one, dict) else one for one in found.get("columns", [])]
    return Dataset(columns, found.get("rows", []))
