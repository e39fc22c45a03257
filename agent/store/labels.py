"""Labels: what people decided about postings, joined with what the model saw when it scored their report.

A label is the last word of a person: an approval says that the report was normal; a refusal, a correction or a reversal
of what was booked says that it was wrong. Of a model that tells classes a label is the class that was approved, or that
a person put in its place; a refusal names none. What was posted and never looked at has no label. Neither has a report
in quarantine, which no model has scored, nor a dead letter that was given up: that is about the ERP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw

from agent.store import scored
from agent.store.encode import readable
from agent.store.scored import ACCOUNT, CAUSE, Scored

SAYS: Final = {"approved": "normal", "refused": "wrong", "superseded": "wrong", "reversal_signed": "wrong"}
_ACTS: Final = (  # by the index of what the agent did not do itself: the trail is not walked
    "SELECT seq, action, event_id, at_us, actor, CAST(detail AS BLOB) FROM audit WHERE seq > ? AND actor <> 'agent' "
    "AND event_id IS NOT NULL AND (action = 'approved' OR action = 'refused' OR action = 'superseded' "
    "OR action = 'reversal_signed' OR action = 'corrected') ORDER BY seq LIMIT ?"
)


class Label(NamedTuple):
    """One report about which a person decided."""

    scored: Scored
    normal: bool
    how: str  # the act, an action of the trail
    at_us: int
    by: str
    why: str
    told: str = ""  # the class that the person says it is, of a model that tells classes

    @property
    def tells(self) -> bool:
        """Whether it says what was so: of a model that tells classes, whoever refuses names none."""
        return not self.scored.likeliest or self.told != ""


class _Said(NamedTuple):
    how: str
    at_us: int
    by: str
    why: str


def labels(
    live: apsw.Connection,
    model: str,
    most: int | None = None,
    archives: Sequence[apsw.Connection] = (),
    *,
    after: int = 0,
) -> list[Label]:
    """The labels for this model (its name), the newest `most`, in the order in which the reports were decided.

    `archives` are read too, from the oldest on: a decision may lie in one and what a person said of it in the next.
    Only what people did behind row `after` of the trail is read.
    """
    acts: dict[int, _Said] = {}
    named: dict[tuple[int, str], str] = {}
    for file in (*archives, live):
        _read_acts(file, acts, named, after)
    archived = {one.event_id: one for file in archives for one in scored.every(file, model) if one.event_id in acts}
    found: list[Label] = []
    for event_id, said in sorted(acts.items(), reverse=True):
        if most is not None and len(found) >= most:
            break
        if (decided := scored.of_event(live, event_id, model) or archived.get(event_id)) is not None:
            normal = SAYS[said.how] == "normal"
            told = named.get((event_id, decided.tells), decided.taken_for if normal else "")
            if told and decided.likeliest:  # whoever reported it may have said another class than the model
                normal = told == decided.likeliest
            found.append(Label(decided, normal, *said, told))
    return sorted(found, key=lambda one: one.scored.seq)


def _read_acts(
    connection: apsw.Connection, found: dict[int, _Said], named: dict[tuple[int, str], str], seq: int
) -> None:
    """Add what people said, event by event: the last that says wrong, else the last; and the classes they named."""
    while rows := list(connection.execute(_ACTS, (seq, scored.PIECE))):
        for seq, how, event_id, at_us, by, raw in rows:  # noqa: B007  # the last one begins the next piece
            detail = readable(raw)
            if how == "corrected":
                named |= {(event_id, field): str(detail[field]) for field in (CAUSE, ACCOUNT) if detail.get(field)}
                continue
            if how == "refused" and detail.get("meaning") != "refuse":
                continue  # a dead or doubtful posting was given up
            before = found.get(event_id)
            if before is None or SAYS[how] == "wrong" or SAYS[before.how] == "normal":
                found[event_id] = _Said(how, at_us, by, str(detail.get("reason", "")))
