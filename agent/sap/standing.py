"""Whether the document that a reversal is about still stands in SAP: asked right before the reversal is sent.

SAP itself refuses to cancel a document twice. What it does not see is movement 262 that somebody books by hand for the
order: the issue is not cancelled by that, and its cancellation would take as much back once more.
"""

from __future__ import annotations

from typing import Final

from agent.errors import ErpRejected
from agent.ports import Acknowledgement, Kind, Posting
from agent.sap.bodies import TAKE_BACK, reversed_document
from agent.sap.call import Rules
from agent.sap.errors import plain
from agent.sap.formats import query, read_decimal, string_literal
from agent.sap.lookup import DOCUMENTS, Lookup, Row, document_number, entity_path
from agent.sap.session import SapSession, not_authorised
from agent.sap.verdict import rows

TAKEN_BACK: Final = "TAKEN_BACK"  # code of the refusal
_MOVED: Final = "Material,ManufacturingOrder,QuantityInEntryUnit,EntryUnit,ReversedMaterialDocument"
_MANY: Final = "200"  # items of one answer


async def taken_back(posting: Posting, lookup: Lookup, session: SapSession, rules: Rules) -> Acknowledgement | None:
    """None: the document stands, the reversal may be sent. Raises ErpRejected where it does not, and ErpUnavailable.

    What was taken back before the first try, somebody else took back, and what is right may be booked, too: a person
    decides. A later try takes it for done: its answer was lost, or a person has looked and replays it.
    """
    found = await lookup.find(posting)
    if posting.attempts:
        return found
    document = str(posting.payload["document"])
    by = found.document if found is not None else await _returned(posting, session, rules)
    if not by:
        return None
    how = f"by {by}" if by != document else "by somebody"
    then = "it then counts as done by that" if found is not None else f"{document} is then cancelled all the same"
    raise ErpRejected(
        f"{document} does not stand any more: it was taken back in SAP {how}, so nothing was sent. Refuse this posting "
        "where all is right in SAP: then nothing that follows it in its group is sent either. "
        f"Or replay it: {then}, and what follows is sent",
        code=TAKEN_BACK,
        details={"taken_back_by": by},
    )


async def _returned(posting: Posting, session: SapSession, rules: Rules) -> str:
    """The document of a movement 262 that returned as much after the goods issue, and names no document; "" if none."""
    kind, numbers = reversed_document(posting.payload)
    if kind is not Kind.GOODS_ISSUE or rules.issue_type != "261":
        return ""
    service, keys = rules.services[kind], DOCUMENTS[kind].keys
    path = f"{service}/{entity_path(kind, numbers)}/{DOCUMENTS[kind].items}?{query(select=_MOVED)}"
    for issued in await _list(path, session):
        about = {name: str(issued.get(name) or "") for name in ("ManufacturingOrder", "Material")}
        wanted = " and ".join(
            (f"GoodsMovementType eq '{TAKE_BACK}'", f"MaterialDocumentYear ge '{numbers[0]}'",
             *(f"{name} eq {string_literal(value)}" for name, value in about.items()))
        )  # fmt: skip
        options = query(filter=wanted, select=f"{','.join(keys)},{_MOVED}", top=_MANY)
        for back in await _list(f"{service}/A_MaterialDocumentItem?{options}", session):
            number = document_number(kind, back)
            cancels = plain(back.get("ReversedMaterialDocument")).strip("0")
            if not cancels and tuple(number.split("/")) > numbers and _as_much(issued, back):
                return number
    return ""


async def _list(path: str, session: SapSession) -> list[Row]:
    """Nothing where the document is not in SAP (any more): then SAP says so to the reversal."""
    answer = await session.read(path)
    if answer.status in (401, 403):
        raise not_authorised(answer)
    return [] if answer.status in (404, 410) else list(rows(answer)[0])


def _as_much(one: Row, other: Row) -> bool:
    amount, unit = "QuantityInEntryUnit", "EntryUnit"
    return one.get(unit) == other.get(unit) and read_decimal(one.get(amount)) == read_decimal(other.get(amount))
