"""Which reasons of scrap are usual on a line: what is suggested to a person where a confirmation tells none."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

import apsw

from agent.ports import Kind

FIELD: Final = "scrap_reason"
MOST: Final = 3  # what fits beside each other on a panel, and is read before it is pressed
LOOKED_AT: Final = 500  # postings of the line, newest first


def suggested(connection: apsw.Connection, posting: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The reasons that confirmations of this line told most often lately, for one that has scrap without a reason.

    `times` of the `of` confirmations with a reason told this one. What was refused or replaced does not count.
    """
    payload = posting["payload"]
    if posting["kind"] != Kind.CONFIRMATION or payload.get(FIELD) or not Decimal(payload.get("scrap") or 0):
        return []
    rows = connection.execute(
        "SELECT reason FROM (SELECT kind, state, json_extract(payload, '$.scrap_reason') AS reason FROM posting "
        "INDEXED BY posting_line WHERE line = ? ORDER BY event_id DESC LIMIT ?) "
        "WHERE kind = ? AND state NOT IN ('refused', 'superseded', 'dead') AND reason <> ''",
        (posting["line"], LOOKED_AT, Kind.CONFIRMATION.value),
    )
    told = Counter(reason for (reason,) in rows)
    return [
        {"field": FIELD, "value": reason, "times": times, "of": told.total()}
        for reason, times in told.most_common(MOST)
    ]
