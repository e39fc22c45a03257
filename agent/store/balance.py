"""The two balances: everything received is accounted for, everything created is somewhere."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

EVENT_STATES = ("undecided", "posted", "held", "advised", "ignored", "duplicate", "quarantined")
POSTING_STATES = (
    "held",
    "ready",
    "sending",
    "in_doubt",
    "doubtful",
    "dead",
    "acknowledged",
    "refused",
    "simulated",
    "superseded",
)


@dataclass(frozen=True, slots=True)
class Balance:
    """One side against the other; `difference` other than 0 is a loss or a double."""

    name: str
    total: int
    by_state: dict[str, int]

    @property
    def difference(self) -> int:
        """Received minus accounted for."""
        return self.total - sum(self.by_state.values())


def totals(connection: apsw.Connection) -> dict[str, int]:
    """Every running total, as the commits moved them."""
    return dict(connection.execute("SELECT name, n FROM tally"))


def running(connection: apsw.Connection) -> tuple[Balance, Balance]:
    """Both balances by the running totals; costs the same with any number of rows."""
    n = totals(connection)
    return (
        Balance("events", n.get("events received", 0), {state: n.get(f"events {state}", 0) for state in EVENT_STATES}),
        Balance(
            "postings",
            n.get("postings created", 0),
            {state: n.get(f"postings {state}", 0) for state in POSTING_STATES},
        ),
    )


def counted(connection: apsw.Connection) -> tuple[Balance, Balance]:
    """Both balances by counting the rows themselves, archived ones included; walks the whole file."""
    with connection:  # one view of the file: the totals and the rows of the same commit
        n = totals(connection)
        events = {state: n.get(f"archived events {state}", 0) for state in EVENT_STATES}
        postings = {state: n.get(f"archived postings {state}", 0) for state in POSTING_STATES}
        for state, count in connection.execute("SELECT state, count(*) FROM event GROUP BY state"):
            events[state] += count
        for state, count in connection.execute("SELECT state, count(*) FROM posting GROUP BY state"):
            postings[state] += count
    return (
        Balance("events", n.get("events received", 0), events),
        Balance("postings", n.get("postings created", 0), postings),
    )
