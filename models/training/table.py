"""A CSV as its columns file describes it, read strictly: what is wrong is told with file, line and column."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from hashlib import sha256
from pathlib import Path
from typing import Final

import numpy as np

from agent.errors import ConfigError, Finding
from agent.features.row import Value
from agent.strict.schema import did_you_mean
from models.training.columns import Columns

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_ROWS: Final = 200_000
SHOWN: Final = 20  # findings of one reading
WORDS: Final = 0.9  # where so many cells of a column are no number, the column is none of numbers
MOST_CLASSES: Final = 50
LONGEST: Final = 80  # characters of a word
LARGEST: Final = Decimal(repr(float(np.finfo(np.float32).max)))
_WRITTEN: Final = re.compile(r"[A-Za-z0-9.+-]+", re.ASCII)  # Decimal takes 1_000, and digits of every script
COLLAPSED: Final = 0.9  # of the values of a column, at least so many must still differ as float32


@dataclass(frozen=True, slots=True)
class Data:
    """The rows in the order of the file. A number or category that is not known is None."""

    rows: tuple[Mapping[str, Value], ...]
    target: tuple[str, ...]
    times: tuple[datetime, ...]  # empty without a time column
    sha256: str  # of the file


def read(path: str | Path, columns: Columns) -> Data:
    """The whole file. Raises ConfigError with up to 20 findings, each of its line and column."""
    return _Reading(str(path), columns).data()


class _EnoughError(Exception):
    """So many findings that more would not be read."""


class _Reading:
    """One pass over the file."""

    def __init__(self, file: str, columns: Columns) -> None:
        self.file = file
        self.columns = columns
        self.findings: list[Finding] = []
        self.numbers: Counter[str] = Counter()  # column → cells that are a number
        self.words: Counter[str] = Counter()  # … and those that are none
        self.wrong: dict[str, list[Finding]] = {name: [] for name in columns.numbers}  # the first of these
        self.nulls = {"", *columns.null}
        self.zoned: bool | None = None

    def data(self) -> Data:
        raw = self.content()
        rows: list[Mapping[str, Value]] = []
        target: list[str] = []
        times: list[datetime] = []
        try:
            for line, cells in self.cells(raw):
                rows.append(self.row(line, cells))
                target.append(self.label(line, cells))
                if self.columns.time is not None:
                    times.append(self.time(line, cells[self.columns.time]))
        except _EnoughError:
            pass
        self.findings = sorted([*self.findings, *self.no_numbers()], key=lambda one: one.line)
        if not self.findings:
            self.whole(rows, target)
        if self.findings:
            raise ConfigError(self.shown())
        return Data(tuple(rows), tuple(target), tuple(times), sha256(raw).hexdigest())

    def add(self, line: int, column: str, message: str, value: str = "") -> None:
        self.findings.append(Finding(self.file, line, column, message, value[:80]))
        if len(self.findings) >= SHOWN:
            raise _EnoughError

    def shown(self) -> list[Finding]:
        """The first of the findings; where there may be more, that is the last one."""
        if len(self.findings) < SHOWN:
            return self.findings
        more = f"reading stops after {SHOWN} findings; mend these first"
        return [*self.findings[:SHOWN], Finding(self.file, self.findings[SHOWN - 1].line, "", more)]

    # ── the file ────────────────────────────────────────────────────────────────────────────────────────────

    def content(self) -> bytes:
        try:
            with Path(self.file).open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
        except OSError as error:
            raise ConfigError(
                [Finding(self.file, 1, "", f"cannot be read: {error.strerror}; check the path")]
            ) from None
        if len(raw) > MAX_BYTES:
            raise ConfigError(
                [Finding(self.file, 1, "", f"is larger than {MAX_BYTES // 1024**2} MiB; take the latest part of it")]
            )
        return raw

    def cells(self, raw: bytes) -> Iterator[tuple[int, Mapping[str, str]]]:
        """Line number and cells by column, of every row that has as many cells as the first line names columns."""
        try:
            text = raw.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            before, byte = error.object[: error.start], error.object[error.start]  # without a byte order mark
            self.add(before.count(b"\n") + 1, "", "is not UTF-8; save the file as UTF-8", f"byte 0x{byte:02x}")
            return
        separator = "\t" if self.columns.separator == "tab" else self.columns.separator
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
        try:
            names = [name.strip() for name in next(reader, [])]
            if not self.head(names):
                return
            for count, cells in enumerate(filter(None, reader), 1):
                if count > MAX_ROWS:
                    self.add(reader.line_num, "", f"has more than {MAX_ROWS} rows; take the latest of them")
                    return
                if len(cells) == len(names):
                    yield reader.line_num, {name: cell.strip() for name, cell in zip(names, cells, strict=True)}
                else:
                    told = f"has {len(cells)} cells where the first line names {len(names)} columns"
                    self.add(reader.line_num, "", f"{told}; look for a missing comma or quote")
        except csv.Error as error:
            self.add(reader.line_num, "", f"is no valid CSV: {error}")

    def head(self, names: Sequence[str]) -> bool:
        """Whether the first line names exactly the columns of the columns file."""
        wanted = [name for name, _ in self.columns.named()]
        if not any(names):
            self.add(1, "", "is empty, or begins with an empty line; the first line names the columns")
            return False
        if len(names) == 1 and len(wanted) > 1:
            self.add(1, "", "has one column; say what stands between the cells (separator: ';' or tab)", names[0])
            return False
        for name in sorted({name for name in names if names.count(name) > 1}):
            self.add(1, name, "this name stands twice in the first line; give each column its own")
        for name in wanted:
            if name not in names:
                self.add(1, name, f"there is no such column; {did_you_mean(name, names)}")
        for name in names:
            if name not in wanted:
                self.add(1, name, "is not in the columns file; add it to numbers, categories or ignore")
        return not self.findings

    # ── one row ─────────────────────────────────────────────────────────────────────────────────────────────

    def row(self, line: int, cells: Mapping[str, str]) -> Mapping[str, Value]:
        numbers: dict[str, Value] = {name: self.number(line, name, cells[name]) for name in self.columns.numbers}
        told = {name: self.word(line, name, cells[name]) for name in self.columns.categories}
        return numbers | told

    def word(self, line: int, column: str, cell: str) -> str | None:
        """The word of a cell; None where it is empty. It will stand on cards and screens."""
        if len(cell) > LONGEST or not cell.isprintable():
            self.add(line, column, f"is no word or code: a line break, or more than {LONGEST} characters", repr(cell))
        return None if cell in self.nulls else cell

    def number(self, line: int, column: str, cell: str) -> float | None:
        """The number of a cell; None where it is empty. Range and float32 are looked at here."""
        if cell in self.nulls:
            return None
        text = cell.replace(",", ".") if self.columns.decimal == "," else cell
        try:
            if not _WRITTEN.fullmatch(text):
                raise InvalidOperation
            value = Decimal(text)
        except InvalidOperation:
            comma = self.columns.decimal == "." and "," in cell
            hint = "write 12.5, or say decimal: ','" if comma else "mend it, leave it empty, or add the word to null"
            self.words[column] += 1
            if self.words[column] <= SHOWN:
                self.wrong[column].append(Finding(self.file, line, column, f"is no number; {hint}", cell[:80]))
            return None
        self.numbers[column] += 1
        if not value.is_finite() or abs(value) > LARGEST:
            self.add(line, column, "is no number that a model can take; leave the cell empty", cell)
            return None
        told = self.columns.numbers[column]
        if (told.least is not None and value < told.least) or (told.most is not None and value > told.most):
            limits = f"{'' if told.least is None else told.least} to {'' if told.most is None else told.most}"
            self.add(line, column, f"is outside of {limits}, the limits in the columns file; mend one of them", cell)
        return float(value)

    def no_numbers(self) -> Iterator[Finding]:
        """The cells that are no number; one finding for a column where hardly any cell is one."""
        for column, found in self.wrong.items():
            words = self.words[column]
            cells = words + self.numbers[column]
            if words < 2 or words < WORDS * cells:
                yield from found
                continue
            first = found[0]
            comma = self.columns.decimal == "." and "," in first.value
            todo = "say decimal: ','" if comma else "move it to categories or ignore"
            told = f"{words} of {cells} cells are no number; {todo}"
            yield Finding(self.file, first.line, column, told, first.value)

    def label(self, line: int, cells: Mapping[str, str]) -> str:
        word = self.word(line, self.columns.target, cells[self.columns.target])
        if word is None:
            self.add(line, self.columns.target, "the target is empty; leave out rows whose answer is not known")
        return word or ""

    def time(self, line: int, cell: str) -> datetime:
        column = self.columns.time or ""
        try:
            value = datetime.fromisoformat(cell)
        except ValueError:
            self.add(line, column, "is no time; write 2026-11-20T14:05:00+01:00", cell)
            return datetime.min  # noqa: DTZ901  # never used: a finding ends the reading without data
        if self.zoned is None:
            self.zoned = value.tzinfo is not None
        if self.zoned != (value.tzinfo is not None):
            self.add(line, column, "some times have a zone and some have none; write all of them with it", cell)
        return value

    # ── the whole ───────────────────────────────────────────────────────────────────────────────────────────

    def whole(self, rows: Sequence[Mapping[str, Value]], target: Sequence[str]) -> None:
        """What only all rows together show."""
        try:
            if not rows:
                self.add(1, "", "has no rows; the first line names the columns, the data come below")
            for name in self.columns.numbers:
                self.column(name, {value for row in rows if isinstance(value := row[name], float)})
            known = sorted(set(target))
            if rows and len(known) < 2:
                self.add(1, self.columns.target, "has the same value in every row; there is nothing to learn", known[0])
            if len(known) > MOST_CLASSES:
                told = f"has {len(known)} different values, at most {MOST_CLASSES} classes can be told; group them"
                self.add(1, self.columns.target, told, known[0])
            positive = self.columns.positive
            if rows and positive is not None and (positive not in known or len(known) != 2):
                told = f"positive asks for two classes, one of them {positive!r}; the column has {', '.join(known[:9])}"
                self.add(1, self.columns.target, told)
        except _EnoughError:
            pass

    def column(self, name: str, values: set[float]) -> None:
        if not values:
            self.add(1, name, "is empty in every row; move the column to ignore")
            return
        kept = len(np.unique(np.array(list(values), np.float32)))
        if kept < COLLAPSED * len(values):
            told = f"of {len(values)} different values only {kept} differ in the model's 32 bits"
            self.add(1, name, f"{told}; use a difference instead (minutes since …), or move an identity to ignore")
