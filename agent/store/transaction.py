"""What a job of the writer may do inside the commit it shares: run SQL, add audit rows, count."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import apsw

from agent.store import audit as trail
from agent.store.encode import encode


class Act(NamedTuple):
    """One row of the trail: who did what, when."""

    actor: str
    action: str
    at_us: int


class Transaction:
    """One job's part of a commit; it is merged into the others' only where the job ends well."""

    __slots__ = (
        "_earlier",
        "_records",
        "connection",
        "counts",
        "execute",
        "executemany",
        "now_us",
        "sequence",
        "session",
    )

    def __init__(
        self, connection: apsw.Connection, now_us: int, sequence: int, earlier: Sequence[trail.Record] = ()
    ) -> None:
        self._earlier = earlier  # the audit rows of the jobs before this one in the same commit
        self.connection = connection
        self.execute = connection.execute
        self.executemany = connection.executemany
        self.now_us = now_us
        self.sequence = sequence  # last lane_seq given out
        self.session = ""  # of the person who acts here; kept with what they do
        self.counts: dict[str, int] = {}
        self._records: list[trail.Record] = []

    def audit(
        self,
        action: str,
        detail: Any,
        *,
        actor: str = "agent",
        event_id: int | None = None,
        posting_id: int | None = None,
        alarm: bool = False,
    ) -> None:
        """Append one row to the trail; it is chained just before COMMIT."""
        if self.session and actor != "agent" and "session" not in detail:
            detail = {**detail, "session": self.session}
        text = encode(detail)
        actor.encode()  # a lone surrogate fails this job here, not everybody's commit
        self._records.append((self.now_us, actor, action, event_id, posting_id, int(alarm), text))

    def count(self, name: str, by: int = 1) -> None:
        """Move a running total of the balances."""
        self.counts[name] = self.counts.get(name, 0) + by

    def last_actor(self, posting_id: int) -> str:
        """Who decided about this posting last: a person where one did, also in this very commit."""
        act = self.last_act(posting_id, of_a_person=True)
        return act.actor if act else ""

    def last_act(self, posting_id: int, *, of_a_person: bool = False) -> Act | None:
        """What was done with this posting last, also in this very commit; by a person if asked and one did."""
        for at_us, actor, action, _, posting, _, _ in (*reversed(self._records), *reversed(self._earlier)):
            if posting == posting_id and not (of_a_person and actor == "agent"):
                return Act(actor, action, at_us)
        row: Any = self.execute(
            "SELECT actor, action, at_us FROM audit WHERE posting_id = ? "
            "ORDER BY CASE WHEN ? THEN actor = 'agent' END, seq DESC LIMIT 1",
            (posting_id, of_a_person),
        ).fetchone()
        return Act(*row) if row else None

    def next_lane_seq(self) -> int:
        """The place in line of a posting that becomes ready."""
        self.sequence += 1
        return self.sequence

    @property
    def records(self) -> list[trail.Record]:
        """The audit rows of this job, not chained yet."""
        return self._records
