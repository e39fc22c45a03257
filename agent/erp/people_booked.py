"""What people booked in SAP by themselves, read page by page: goods movements of orders, and confirmations."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import datetime, time, timedelta, tzinfo
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.errors import BadPayload
from agent.parallel.bookings import Booking
from agent.parallel.figures import Posted
from agent.ports import Kind
from agent.sap.call import Rules
from agent.sap.formats import date_literal, query, read_date, read_decimal, string_literal, unpadded
from agent.sap.session import SapSession, not_authorised
from agent.sap.verdict import rows
from agent.units import UnitTable

Row = Mapping[str, Any]
PAGE: Final = 200  # documents of one answer
KINDS: Final[Mapping[str, Kind]] = {
    "261": Kind.GOODS_ISSUE, "551": Kind.SCRAP, "553": Kind.SCRAP, "555": Kind.SCRAP,
    "309": Kind.STOCK_TRANSFER, "311": Kind.STOCK_TRANSFER, "343": Kind.STOCK_TRANSFER, "344": Kind.STOCK_TRANSFER,
}  # fmt: skip
_TIME: Final = re.compile(r"PT(\d+)H(\d+)M(\d+)S")


class Listed(NamedTuple):
    """Where documents are listed: their set, what numbers them, and the fields that say when and by whom."""

    kind: Kind  # of which the service is
    entity_set: str
    keys: tuple[str, str]
    day: str
    time: str
    user: str
    expand: str = ""


MOVEMENTS: Final = Listed(
    Kind.GOODS_ISSUE, "A_MaterialDocumentHeader", ("MaterialDocumentYear", "MaterialDocument"), "CreationDate",
    "CreationTime", "CreatedByUser", "to_MaterialDocumentItem",
)  # fmt: skip
CONFIRMATIONS: Final = Listed(
    Kind.CONFIRMATION, "ProdnOrdConf2", ("ConfirmationGroup", "ConfirmationCount"), "ConfirmationEntryDate",
    "ConfirmationEntryTime", "EnteredByUser",
)  # fmt: skip


async def people_booked(
    session: SapSession, rules: Rules, span: tuple[datetime, datetime], own: str, units: UnitTable
) -> list[Booking]:
    """Every document that was entered in the span (a day more on either side) by anybody but the user `own`.

    What was taken back is left out, with what took it back. Raises ErpUnavailable.
    """
    found = []
    for listed, read in ((MOVEMENTS, _movements), (CONFIRMATIONS, _confirmation)):
        async for row in _documents(session, rules, listed, span, own):
            entered = _entered(row, listed, rules.zone)
            found += [one._replace(entered_at=entered) for one in read(row, units)]
    return found


async def _documents(
    session: SapSession, rules: Rules, listed: Listed, span: tuple[datetime, datetime], own: str
) -> AsyncIterator[Row]:
    """By their numbers, not by how many were read: rows come while we read."""
    first, last = (date_literal((moment + timedelta(days=more)).date().isoformat()) for moment, more in
                   zip(span, (-1, 1), strict=True))  # fmt: skip
    wanted = f"{listed.day} ge {first} and {listed.day} le {last}"
    wanted += f" and {listed.user} ne {string_literal(own.upper())}" if own else ""
    one, two = listed.keys
    behind = ""
    while True:
        options = {"filter": wanted + behind, "orderby": f"{one},{two}", "top": str(PAGE)}
        options |= {"expand": listed.expand} if listed.expand else {}
        answer = await session.read(f"{rules.services[listed.kind]}/{listed.entity_set}?{query(**options)}")
        if answer.status in (401, 403):
            raise not_authorised(answer)
        page, more = rows(answer)
        for row in page:
            yield row
        if not page or (len(page) < PAGE and not more):
            return
        at, number = (string_literal(str(page[-1][name])) for name in listed.keys)
        behind = f" and ({one} gt {at} or ({one} eq {at} and {two} gt {number}))"


def _movements(row: Row, units: UnitTable) -> Iterator[Booking]:
    inlined = row.get(MOVEMENTS.expand)
    for item in inlined.get("results", ()) if isinstance(inlined, Mapping) else ():
        kind = KINDS.get(str(item.get("GoodsMovementType")))
        takes_back = str(item.get("ReversedMaterialDocument") or "").strip("0")
        gone = takes_back or item.get("GoodsMovementIsCancelled") is True
        if kind is None or gone or item.get("IsAutomaticallyCreated"):
            continue
        order, material = (unpadded(str(item.get(name) or "")) for name in ("ManufacturingOrder", "Material"))
        yield _booking(row, MOVEMENTS, kind, (order, material), (item, "QuantityInEntryUnit", "EntryUnit"), units)


def _confirmation(row: Row, units: UnitTable) -> Iterator[Booking]:
    if row.get("IsReversed") is True or row.get("IsReversal") is True:
        return
    about = unpadded(str(row.get("OrderID") or "")), str(row.get("OrderOperation") or "").lstrip("0")
    yield _booking(
        row, CONFIRMATIONS, Kind.CONFIRMATION, about, (row, "ConfirmationYieldQuantity", "ConfirmationUnit"), units
    )


def _booking(
    row: Row, listed: Listed, kind: Kind, about: tuple[str, str], amount: tuple[Row, str, str], units: UnitTable
) -> Booking:
    of, quantity, unit = amount
    posted = Posted(
        kind, *about, read_decimal(of.get(quantity)) or Decimal(0), _unit(str(of.get(unit) or ""), units),
        read_date(str(row.get("PostingDate"))).isoformat(),
    )  # fmt: skip
    return Booking("/".join(str(row[name]) for name in listed.keys), posted, None, str(row.get(listed.user) or ""))


def _unit(unit: str, units: UnitTable) -> str:
    """As it stands where nobody knows it: it is then like no other."""
    try:
        return units.from_sap(unit)
    except BadPayload:
        return unit


def _entered(row: Row, listed: Listed, zone: tzinfo) -> datetime | None:
    """When somebody entered it; None where SAP does not say."""
    clock = _TIME.fullmatch(str(row.get(listed.time) or ""))
    try:
        day = read_date(str(row.get(listed.day)))
    except ValueError:
        return None
    if clock is None:
        return None
    hour, minute, second = map(int, clock.groups())
    return datetime.combine(day, time(hour, minute, second), zone)
