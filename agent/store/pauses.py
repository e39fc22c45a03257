"""Pauses: a person stops a target, a line or an order, and lets it go on; audited, surviving restarts."""

from __future__ import annotations

import difflib
from typing import Any

import apsw

from agent.errors import NotFound
from agent.store.encode import from_us
from agent.store.transaction import Transaction
from agent.strict.schema import did_you_mean

SCOPES = ("target", "line", "order")


def pause(tx: Transaction, scope: str, key: str, *, by: str, reason: str) -> None:
    """Stop sending for this target (`*`: every one), line or order; what is under way comes back."""
    tx.execute(
        "INSERT OR REPLACE INTO pause (scope, key, by, reason, since_us) VALUES (?, ?, ?, ?, ?)",
        (scope, _key(scope, key), by, reason, tx.now_us),
    )
    tx.audit("paused", {"scope": scope, "key": key, "reason": reason}, actor=by)


def require_known(connection: apsw.Connection, scope: str, key: str) -> None:
    """Raises NotFound for a line or an order that nothing in the store names; targets the configuration knows."""
    if scope == "line":
        lines = [str(line) for (line,) in connection.execute(LINES) if line]
        if key not in lines:
            raise NotFound(f"there is no line {key!r}; {did_you_mean(key, lines)} (`--force` pauses it all the same)")
    elif scope == "order" and not connection.execute(KNOWN_ORDER, (_key(scope, key), _number(key))).get:
        newest = [str(order) for (order,) in connection.execute(ORDERS)]
        close = difflib.get_close_matches(_number(key), newest, 3) or newest[:5]
        raise NotFound(
            f"order {_number(key)} is not known; known are for example {', '.join(close) or 'none'} "
            f"(`--force` pauses it before it is known)"
        )


LINES = (
    "SELECT json_extract(document, '$.line') FROM masterdata WHERE kind = 'work_center' UNION SELECT line FROM lane "
    "UNION SELECT line FROM posting INDEXED BY posting_held WHERE state = 'held'"
)
KNOWN_ORDER = (  # ?1 its lane, ?2 its number
    "SELECT EXISTS (SELECT 1 FROM masterdata WHERE kind = 'order' AND key = ?2) "
    "OR EXISTS (SELECT 1 FROM lane WHERE ordering_key = ?1) "
    "OR EXISTS (SELECT 1 FROM posting INDEXED BY posting_held WHERE state = 'held' AND ordering_key = ?1)"
)
ORDERS = "SELECT key FROM masterdata WHERE kind = 'order' GROUP BY key ORDER BY max(received_us) DESC LIMIT 1000"


def resume(tx: Transaction, scope: str, key: str, *, by: str, reason: str) -> None:
    """Let it go on. Raises NotFound when it is not paused."""
    tx.execute("DELETE FROM pause WHERE scope = ? AND key = ?", (scope, _key(scope, key)))
    if tx.connection.changes() != 1:
        raise NotFound(f"{scope} {key} is not paused; `gatepost status` shows what is")
    tx.audit("resumed", {"scope": scope, "key": key, "reason": reason}, actor=by)


def pauses(connection: apsw.Connection) -> list[dict[str, Any]]:
    """What is paused now, since when, by whom and why."""
    return [
        {"scope": scope, "key": key, "by": by, "reason": reason, "since": from_us(since).isoformat()}
        for scope, key, by, reason, since in connection.execute(
            "SELECT scope, key, by, reason, since_us FROM pause ORDER BY scope, key"
        )
    ]


def _number(key: str) -> str:
    return key.removeprefix("order/")


def _key(scope: str, key: str) -> str:
    """People name an order by its number; its lane is called order/NUMBER."""
    return f"order/{key}" if scope == "order" and not key.startswith("order/") else key
