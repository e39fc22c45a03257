"""Pauses: a person stops a target, a line or an order, and lets it go on; audited, surviving restarts."""

from __future__ import annotations

from typing import Any

import apsw

from agent.errors import NotFound
from agent.store.encode import from_us
from agent.store.transaction import Transaction

SCOPES = ("target", "line", "order")


def pause(tx: Transaction, scope: str, key: str, *, by: str, reason: str) -> None:
    """Stop sending for this target (`*`: every one), line or order; what is under way comes back."""
    tx.execute(
        "INSERT OR REPLACE INTO pause (scope, key, by, reason, since_us) VALUES (?, ?, ?, ?, ?)",
        (scope, _key(scope, key), by, reason, tx.now_us),
    )
    tx.audit("paused", {"scope": scope, "key": key, "reason": reason}, actor=by)


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


def _key(scope: str, key: str) -> str:
    """People name an order by its number; its lane is called order/NUMBER."""
    return f"order/{key}" if scope == "order" and not key.startswith("order/") else key
