"""A mapping file → one function from message to SegmentResponse, put together once at load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

from agent.isa95 import MaterialActual, Quantity, SegmentResponse
from agent.mapping.document import Key, MappingFile, Material, SchemaVersion, Value, path_keys
from agent.mapping.fields import (
    Body,
    Levels,
    amount_reader,
    bad,
    count_reader,
    flag_reader,
    identity_reader,
    lookup,
    plain_number_reader,
    shown,
    text_reader,
)
from agent.mapping.texts import Texts, Wanted, texts_reader, wanted
from agent.mapping.times import time_reader
from agent.units import UnitTable

Read = Callable[[Body, datetime], SegmentResponse]  # the message and when it arrived
Bind = Callable[[Levels], Read]
Check = Callable[[Body], None]
ReadMaterial = Callable[[Body, Levels, Texts], MaterialActual | None]

_new: Final = tuple.__new__  # what the constructors of named tuples call
_NO_DURATIONS: Final[Mapping[str, Quantity]] = MappingProxyType({})
_NO_DATA: Final[Mapping[str, str | Decimal]] = MappingProxyType({})


def report_reader(file: MappingFile, units: UnitTable) -> Bind:
    """Topic → the function that reads one message of this file. Both raise BadPayload and nothing else."""
    kind = file.kind
    checks = _checks(file)
    texts = _texts_of_the_report(file)
    head = len(texts)
    occurred_at, span, final = _moment_reader(file), _span_reader(file), flag_reader(file.final)
    materials = [_material_reader(one, units, texts) for one in file.materials]
    durations, data = _durations_reader(file, units), _data_reader(file)
    number = count_reader(file.sequence.number) if file.sequence else lambda body: None
    texts_of = texts_reader(texts)

    def bind(levels: Levels) -> Read:
        read_texts = texts_of(levels)

        def read(body: Body, received_at: datetime) -> SegmentResponse:
            for check in checks:
                check(body)
            texts = read_texts(body)
            id, order, operation, work_center, personnel, sender = texts[:head]
            start, end = span(body, received_at)
            made = (
                kind,
                id,
                order,
                operation,
                occurred_at(body, received_at),
                work_center,
                start,
                end,
                final(body),
                tuple([actual for read in materials if (actual := read(body, levels, texts)) is not None]),
                durations(body, levels),
                personnel,
                sender,
                number(body),
                data(body, levels),
            )
            return _new(SegmentResponse, made)

        return read

    return bind


def _texts_of_the_report(file: MappingFile) -> list[Wanted]:
    """Identity, order, operation, work centre, personnel and sender."""
    parts = file.message_id or file.unique_by
    return [
        Wanted(identity_reader(parts), parts[0] if len(parts) == 1 else None, required=True, composed=len(parts) > 1),
        wanted(file.order, required=True),
        wanted(file.operation, required=True),
        wanted(file.work_center, required=False),
        wanted(file.personnel, required=False),
        wanted(file.sequence.sender if file.sequence else None, required=True),
    ]


def _material_reader(spec: Material, units: UnitTable, texts: list[Wanted]) -> ReadMaterial:
    """A function that reads one material, None where it is left out. What it names is added to the texts of the
    message; where the message may leave it out, it is read behind the quantity instead."""
    use, omit_zero, quantity = spec.use, spec.omit_zero, amount_reader(spec.quantity, units)
    # A material that is named must be there: without it the report would speak of the order's product.
    names = [
        wanted(spec.material, required=True),
        *(wanted(pick, required=False) for pick in (spec.lot, spec.storage_location, spec.reason)),
    ]
    begin, end = len(texts), len(texts) + len(names)
    behind = (omit_zero or spec.quantity.optional) and not all(name.given for name in names)
    if not behind:
        texts += names

    def read(body: Body, levels: Levels, texts: Texts) -> MaterialActual | None:
        amount = quantity(body, levels)
        if amount is None or (omit_zero and not amount.value):
            return None
        said = tuple([name.read(body, levels) for name in names]) if behind else texts[begin:end]
        return _new(MaterialActual, (use, amount) + said)  # noqa: RUF005  # twice as fast

    return read


def _durations_reader(file: MappingFile, units: UnitTable) -> Callable[[Body, Levels], Mapping[str, Quantity]]:
    if not file.durations:
        return lambda body, levels: _NO_DURATIONS
    readers = [(activity, amount_reader(duration, units)) for activity, duration in file.durations.items()]

    def read(body: Body, levels: Levels) -> Mapping[str, Quantity]:
        times = {activity: time for activity, read in readers if (time := read(body, levels)) is not None}
        return MappingProxyType(times)

    return read


def _data_reader(file: MappingFile) -> Callable[[Body, Levels], Mapping[str, str | Decimal]]:
    if not file.data:
        return lambda body, levels: _NO_DATA
    readers = [(name, _value_reader(value)) for name, value in file.data.items()]

    def read(body: Body, levels: Levels) -> Mapping[str, str | Decimal]:
        told = {name: value for name, read in readers if (value := read(body, levels)) not in ("", None)}
        return MappingProxyType(told)

    return read


def _value_reader(value: Value) -> Callable[[Body, Levels], str | Decimal | None]:
    """A function that reads one named value; empty or None where an optional one is absent."""
    if value.type == "text":
        return text_reader(value, required=not value.optional)
    return plain_number_reader(value.path or "", required=not value.optional)


def _moment_reader(file: MappingFile) -> Callable[[Body, datetime], datetime]:
    if file.time.path is None:
        return lambda body, received_at: received_at
    return time_reader(file.time, file.time.path, required=True)  # type: ignore[return-value]  # it is not optional


def _span_reader(file: MappingFile) -> Callable[[Body, datetime], tuple[datetime | None, datetime | None]]:
    if file.start is None and file.end is None:
        return lambda body, received_at: (None, None)
    start, end = (time_reader(file.time, path, required=False) if path else _no_time for path in (file.start, file.end))

    def read(body: Body, received_at: datetime) -> tuple[datetime | None, datetime | None]:
        began, ended = start(body, received_at), end(body, received_at)
        if began is not None and ended is not None and ended < began:
            raise bad(f"{ended.isoformat()} is before the start {began.isoformat()}", file.end or "", "bad_time")
        return began, ended

    return read


def _no_time(body: Body, received_at: datetime) -> None:
    return None


# ── checks of the whole message ─────────────────────────────────────────────────────────────────────────────


def _checks(file: MappingFile) -> list[Check]:
    checks = []
    if file.schema_version:
        checks.append(_version_check(file.schema_version))
    if file.additional == "refuse":
        checks.append(_additional_check([path_keys(path) for path in file.paths()]))
    return checks


def _version_check(version: SchemaVersion) -> Check:
    get, known, path = lookup(version.path), frozenset(version.known), version.path

    def check(body: Body) -> None:
        value = get(body)
        if type(value) is bool or str(value) not in known:
            raise bad(f"version {shown(value)} is unknown; known: {', '.join(known)}", path, "schema_version")

    return check


Tree = dict[Key, Any]


def _additional_check(paths: list[tuple[Key, ...]]) -> Check:
    tree: Tree = {}
    for path in paths:
        branch = tree
        for key in path:
            branch = branch.setdefault(key, {})
    return lambda body: _refuse_additional(body, tree, "$")


def _refuse_additional(value: Any, tree: Tree, where: str) -> None:
    if not tree:  # a path of the mapping ends here: what is below belongs to its value
        return
    if type(value) is dict:
        for key, member in value.items():
            if key not in tree:
                raise bad(f"the field {shown(key)} is not in the mapping, which refuses others", where, "extra_field")
            _refuse_additional(member, tree[key], f"{where}.{key}")
    elif type(value) is list:
        for index, member in enumerate(value):
            if index not in tree:
                raise bad(f"the element {index} is not in the mapping, which refuses others", where, "extra_field")
            _refuse_additional(member, tree[index], f"{where}[{index}]")
