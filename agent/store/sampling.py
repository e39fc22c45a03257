"""The secret by which the audit sample is drawn: made once for a store, and carried along with every copy of it."""

from __future__ import annotations

from secrets import token_hex
from typing import Final

import apsw

from agent.store.transaction import Transaction

BYTES: Final = 32
_META: Final = "sampling_key"


def kept(connection: apsw.Connection) -> bytes:
    """The secret of this store; empty where no agent of this release has run on it."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (_META,)).fetchone()
    return bytes.fromhex(str(row[0])) if row is not None else b""


def key(tx: Transaction) -> bytes:
    """The secret of this store, made where there is none."""
    known = kept(tx.connection)
    if known:
        return known
    made = token_hex(BYTES)
    tx.execute("INSERT INTO meta (key, value) VALUES (?, ?)", (_META, made))
    return bytes.fromhex(made)
