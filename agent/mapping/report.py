"""A mapping file → one function from message to SegmentResponse, put together once at load."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from agent.isa95 import MaterialActual, Quantity, SegmentResponse
from agent.mapping.document import Key, MappingFile, Material, SchemaVersion, path_keys
from agent.mapping.fields import (
    Body,
    Levels,
    amount_reader,
    bad,
    count_reader,
    flag_reader,
    identity_reader,
    lookup,
    shown,
    text_reader,
)
from agent.mapping.times import time_reader
from agent.units import UnitTable

Read = Callable[[Body, Levels, datetime], SegmentResponse]
Check = Callable[[Body], None]

_NO_DURATIONS: Final[Mapping[str, Quantity]] = MappingProxyType({})


def report_reader(file: MappingFile, units: UnitTable) -> Read:
    """The function that reads one message of this file. It raises BadPayload and nothing else."""
    kind = file.kind
    checks = _checks(file)
    identity = identity_reader(file.message_id or file.unique_by)
    order, operation = text_reader(file.order, required=True), text_reader(file.operation, required=True)
    work_center = text_reader(file.work_center, required=False)
    personnel = text_reader(file.personnel, required=False)
    occurred_at, span, final = time_reader(file.time, file.time.path), _span_reader(file), flag_reader(file.final)
    materials, durations = _materials_reader(file, units), _durations_reader(file, units)
    sender = text_reader(file.sequence.sender if file.sequence else None, required=True)
    number = count_reader(file.sequence.number) if file.sequence else lambda body: None

    def read(body: Body, levels: Levels, received_at: datetime) -> SegmentResponse:
        for check in checks:
            check(body)
        start, end = span(body, received_at)
        return SegmentResponse(
            kind,
            identity(body, levels),
            order(body, levels),
            operation(body, levels),
            occurred_at(body, received_at),
            work_center(body, levels),
            start,
            end,
            final(body),
            materials(body, levels),
            durations(body, levels),
            personnel(body, levels),
            sender(body, levels),
            number(body),
        )

    return read


def _materials_reader(file: MappingFile, units: UnitTable) -> Callable[[Body, Levels], tuple[MaterialActual, ...]]:
    readers = [_material_reader(material, units) for material in file.materials]

    def read(body: Body, levels: Levels) -> tuple[MaterialActual, ...]:
        return tuple([actual for read in readers if (actual := read(body, levels)) is not None])

    return read


def _material_reader(spec: Material, units: UnitTable) -> Callable[[Body, Levels], MaterialActual | None]:
    use, omit_zero = spec.use, spec.omit_zero
    quantity = amount_reader(spec.quantity, units)
    # A material that is named must be there: without it the report would speak of the order's product.
    material = text_reader(spec.material, required=True)
    lot, storage_location, reason = (
        text_reader(pick, required=False) for pick in (spec.lot, spec.storage_location, spec.reason)
    )
    if not (spec.material or spec.lot or spec.storage_location or spec.reason):

        def read_amount(body: Body, levels: Levels) -> MaterialActual | None:
            amount = quantity(body, levels)
            return None if amount is None or (omit_zero and not amount.value) else MaterialActual(use, amount)

        return read_amount

    def read(body: Body, levels: Levels) -> MaterialActual | None:
        amount = quantity(body, levels)
        if amount is None or (omit_zero and not amount.value):
            return None
        return MaterialActual(
            use,
            amount,
            material(body, levels),
            lot(body, levels),
            storage_location(body, levels),
            reason(body, levels),
        )

    return read


def _durations_reader(file: MappingFile, units: UnitTable) -> Callable[[Body, Levels], Mapping[str, Quantity]]:
    if not file.durations:
        return lambda body, levels: _NO_DURATIONS
    readers = [(activity, amount_reader(duration, units)) for activity, duration in file.durations.items()]

    def read(body: Body, levels: Levels) -> Mapping[str, Quantity]:
        times = {activity: time for activity, read in readers if (time := read(body, levels)) is not None}
        return MappingProxyType(times)

    return read


def _span_reader(file: MappingFile) -> Callable[[Body, datetime], tuple[datetime | None, datetime | None]]:
    if file.start is None and file.end is None:
        return lambda body, received_at: (None, None)
    start, end = _optional_time(file, file.start), _optional_time(file, file.end)

    def read(body: Body, received_at: datetime) -> tuple[datetime | None, datetime | None]:
        began, ended = start(body, received_at), end(body, received_at)
        if began is not None and ended is not None and ended < began:
            raise bad(f"{ended.isoformat()} is before the start {began.isoformat()}", file.end or "", "bad_time")
        return began, ended

    return read


def _optional_time(file: MappingFile, path: str | None) -> Callable[[Body, datetime], datetime | None]:
    if path is None:
        return lambda body, received_at: None
    get, read = lookup(path), time_reader(file.time, path)
    return lambda body, received_at: None if get(body) is None else read(body, received_at)


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
