"""Nonces for signatures: each is given for one decision about one posting as it was shown, and is good once."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, Final

import apsw

from agent.store.encode import from_us
from agent.store.transaction import Transaction

LIFE_US: Final = 300_000_000
KEPT_US: Final = 86_400_000_000  # so that a replay is told as one, and not as a nonce that nobody knows


@dataclass(frozen=True, slots=True)
class Bound:
    """What a nonce was given for."""

    posting_id: int
    version: int
    decision: str  # "approve", "refuse" or "correct"
    shown_sha256: str
    session_user: str
    bearer: str  # the token that asked


@dataclass(frozen=True, slots=True)
class Challenge:
    """A nonce that was given."""

    bound: Bound
    expires_us: int
    used_us: int | None


def issue(tx: Transaction, bound: Bound) -> dict[str, Any]:
    """A new nonce for exactly this. What expired long ago is forgotten."""
    tx.execute("DELETE FROM challenge WHERE expires_us < ?", (tx.now_us - KEPT_US,))
    nonce, expires_us = secrets.token_urlsafe(32), tx.now_us + LIFE_US
    tx.execute(
        "INSERT INTO challenge (nonce, posting_id, version, decision, shown_sha256, session_user, bearer, expires_us) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (nonce, bound.posting_id, bound.version, bound.decision, bound.shown_sha256, bound.session_user, bound.bearer,
         expires_us),
    )  # fmt: skip
    return {
        "nonce": nonce,
        "expires_at": from_us(expires_us).isoformat(),
        "shown_sha256": bound.shown_sha256,
    }


def find(connection: apsw.Connection, nonce: str) -> Challenge | None:
    """What was given under this nonce, or None."""
    row: Any = connection.execute(
        "SELECT posting_id, version, decision, shown_sha256, session_user, bearer, expires_us, used_us FROM challenge "
        "WHERE nonce = ?",
        (nonce,),
    ).fetchone()
    return Challenge(Bound(*row[:6]), row[6], row[7]) if row else None


def use(tx: Transaction, nonce: str) -> None:
    """From now on it is used, whatever comes of it."""
    tx.execute("UPDATE challenge SET used_us = ? WHERE nonce = ? AND used_us IS NULL", (tx.now_us, nonce))
