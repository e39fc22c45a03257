"""From the trail to the cases of a parallel run: what the agent would have done by itself, and what people did."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from agent.authority import EVERY, SAMPLED
from agent.parallel.bookings import Booking, match
from agent.parallel.figures import Asked, Case, Comparison, People, Posted
from agent.ports import Kind, Route
from agent.store.done import Did, Happened, Made
from agent.units import UnitTable

TOLD: Final = (Kind.NOTIFICATION, Kind.DISPATCH)  # nobody books these
_DID: Final[Mapping[str, tuple[People, str]]] = {  # what settles it first
    "reversal_signed": (People.NOT, "taken back"),
    "refused": (People.NOT, "refused"),
    "superseded": (People.OTHERWISE, "corrected"),
    "approved": (People.SAME, "approved"),
}


class _Told(NamedTuple):
    """A case, the mode that decided it, and the documents that the agent made of it."""

    case: Case
    mode: str
    documents: tuple[str, ...]


def comparisons(
    found: Iterable[Happened], units: UnitTable, bookings: Sequence[Booking] | None = None, asked: Asked | None = None
) -> list[Comparison]:
    """One comparison per workflow, by name. With `bookings` what was only advised is looked for among them."""
    by_workflow: dict[str, list[_Told]] = defaultdict(list)
    for one in found:
        if (case := _told(one)) is not None:
            by_workflow[case.case.workflow].append(case)
    own = {document for every in by_workflow.values() for one in every for document in one.documents}
    left = [one for one in bookings or () if one.document not in own]
    made = []
    for workflow, every in sorted(by_workflow.items()):
        cases, by_people = [one.case for one in every], list[str]()
        if bookings is not None:
            matched = match([one.case for one in every if not one.documents], left, units)
            known = {one.event: one for one in matched.cases}
            cases = [known.get(one.event, one) for one in cases]
            kinds = {posted.kind for one in cases for posted in one.posts}
            by_people = [one.document for one in matched.left if one.posted.kind in kinds]
        mode = every[-1].mode
        made.append(Comparison(workflow, mode, cases, asked or Asked(), by_people, has_documents=bookings is not None))
    return made


def _told(one: Happened) -> _Told | None:
    """The case of a decision; None where nothing of it would be booked."""
    made = [posting for posting in one.made if posting.kind not in TOLD]
    if not made:
        return None
    detail, at = one.decided.detail, one.decided.at
    people, by, how = _people(one.people, made)
    decided = one.people[0].at if one.people else None
    case = Case(
        event=one.decided.event,
        at=at,
        workflow=str(detail.get("workflow", "")),
        alone=alone(detail),
        confidence=float(detail.get("confidence", 1.0)),
        posts=tuple(_posted(posting, at.date().isoformat()) for posting in made),
        value=sum((posting.value for posting in made), Decimal(0)),
        people=people,
        by=by,
        how=how,
        waited_min=(decided - at).total_seconds() / 60 if decided is not None else None,
    )
    documents = tuple(form for posting in made if posting.document for form in _forms(posting.document))
    by_itself = documents or tuple(f"posting {posting.id}" for posting in made if posting.id is not None)
    return _Told(case, str(detail.get("mode", "")), by_itself)


def alone(detail: Mapping[str, Any]) -> bool:
    """Whether the mode `auto` would have posted it by itself, as it would what is only drawn for the audit sample."""
    reasons = [str(one) for one in detail.get("reasons", ())]
    if any(one.startswith(SAMPLED) for one in reasons):
        return True
    if "in_auto" in detail:
        return bool(detail["in_auto"] == Route.POST)
    return detail.get("route") == Route.POST or (bool(reasons) and set(reasons) <= {EVERY})


def _people(acts: Sequence[Did], made: Sequence[Made]) -> tuple[People, str, str]:
    """What people did, who, and in words."""
    for action, (people, word) in _DID.items():
        act = next((one for one in acts if one.action == action), None)
        if act is not None:
            why = f": {act.why}" if act.why else ""
            return people, act.by, f"{word} by {act.by}{why}"
    states = {one.state for one in made}
    if "held" in states:
        return People.OPEN, "", "waits for a person"
    if states & {"refused", "superseded"}:
        return People.OPEN, "", "nobody decided in time"
    return People.UNKNOWN, "", "nobody looked at it"


def _posted(one: Made, day: str) -> Posted:
    payload = one.payload
    confirmation = one.kind == Kind.CONFIRMATION
    about = str(payload.get("operation", "")).lstrip("0") if confirmation else str(payload.get("material", ""))
    quantity = payload.get("yield") if confirmation else payload.get("quantity")
    return Posted(
        one.kind,
        str(payload.get("order", "")),
        about,
        Decimal(str(quantity or 0)),
        str(payload.get("unit") or "C62"),
        str(payload.get("posting_date") or day),
    )


def _forms(document: str) -> tuple[str, ...]:
    """``2026/4900000017`` may be listed without its year."""
    year, _, number = document.partition("/")
    return (document, number) if len(year) == 4 and year.isdigit() and number else (document,)
