"""What became of what a workflow proposed: only advice, postings that ended unsent, or something that may be sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import apsw

from agent.ports import Kind, Route
from agent.store import decisions, inbox
from agent.store.encode import readable

SENT: Final = "sent"  # or it still may be, or nobody knows any more
TOLD: Final = "told"  # messages to people alone
ADVISED: Final = Route.ADVISE.value
SIMULATED: Final = "simulated"
REFUSED: Final = "refused"  # by a person, as nobody signed in time, or withdrawn by the agent


class Fate(NamedTuple):
    """Of one proposal."""

    end: str  # one of the words above; of a group that of what went farthest
    mode: str = ""  # of authority, when it was decided
    policy: str = ""  # version of the rules that decided it
    refused: str = ""  # who refused it and why, where a person did

    @property
    def unsent(self) -> bool:
        """Nothing of it went to the ERP or the line, nor ever will."""
        return self.end != SENT


def fates(connection: apsw.Connection, message_keys: Sequence[str]) -> list[Fate]:
    """What became of what each of these messages made a workflow propose."""
    known = inbox.known(connection, message_keys)
    return [_fate(connection, known[key][1]) if key in known else Fate(SENT) for key in message_keys]


def held(connection: apsw.Connection, workflow: str) -> set[str]:
    """The lanes in which something of a workflow waits for a person."""
    rows = connection.execute("SELECT ordering_key FROM posting WHERE state = 'held' AND workflow = ?", (workflow,))
    return {lane for (lane,) in rows}


def _fate(connection: apsw.Connection, event_id: int) -> Fate:
    decided = decisions.of_event(connection, event_id)
    if decided is None or not decided.detail:
        return Fate(SENT)  # archived or damaged
    detail = decided.detail
    mode, policy = str(detail.get("mode", "")), str(detail.get("policy", ""))
    if detail.get("route") == ADVISED:
        return Fate(ADVISED, mode, policy)
    made = [posting_id for posting_id, _ in detail.get("postings", ())]
    ends = {_end(connection, posting_id) for posting_id in made}
    end = next((one for one in (SENT, SIMULATED, REFUSED) if one in ends), TOLD)
    return Fate(end, mode, policy, _refusal(connection, made) if end == REFUSED else "")


def _end(connection: apsw.Connection, posting_id: int) -> str:
    row: Any = connection.execute("SELECT kind, state, first_sent_us FROM posting WHERE id = ?", (posting_id,)).get
    if row is None:
        return SENT  # archived
    kind, state, first_sent = row
    if kind == Kind.NOTIFICATION:
        return TOLD
    return str(state) if first_sent is None and state in (REFUSED, SIMULATED) else SENT


def _refusal(connection: apsw.Connection, postings: Sequence[int]) -> str:
    """Who refused the first of these that a person refused, and why."""
    for posting_id in postings:
        row: Any = connection.execute(
            "SELECT actor, CAST(detail AS BLOB) FROM audit WHERE posting_id = ? AND action = 'refused' LIMIT 1",
            (posting_id,),
        ).get
        if row is not None:
            detail: Mapping[str, Any] = readable(row[1])
            return f"{row[0]} refused it: {detail.get('reason', '')}"
    return ""
