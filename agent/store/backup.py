"""Online backup and restore; the full check of a file.

A restored store is a time machine: it does not know what was posted since. It therefore starts in
RECONCILE (see `file.py`): posting is off, and what is open is looked up at the ERP before it is sent.
"""

from __future__ import annotations

import os
from contextlib import closing
from datetime import datetime
from hashlib import sha256
from pathlib import Path

import apsw

from agent.errors import NotFound, StoreCorrupt, StoreError
from agent.store import audit, file
from agent.store.writer import FATAL_ERRORS

BESIDE = ("", "-wal", "-shm", ".mark")  # the files that belong together


def backup(store: Path, copy: Path, now: datetime) -> None:
    """Copy the live store while the agent works. Raises StoreError when the copy is there already or cannot be made."""
    if copy.exists():
        raise StoreError(f"{copy} is there already; name another file")
    source = file.reader(store)
    target = apsw.Connection(str(copy))
    try:
        _copy_all(source, target)
        target.execute("INSERT OR REPLACE INTO meta (key, value) VALUES ('run', ?)", (f"backup {now.isoformat()}",))
        target.pragma("journal_mode", "delete")  # a copy is one file
        check(target, str(copy))
        target.close()
    except (apsw.Error, StoreError) as error:
        target.close(True)
        for end in BESIDE:
            copy.with_name(copy.name + end).unlink(missing_ok=True)
        if isinstance(error, StoreError):
            raise
        raise StoreError(
            f"{copy} cannot be written ({type(error).__name__}); free space or name another place"
        ) from error
    finally:
        source.close()


def _copy_all(source: apsw.Connection, target: apsw.Connection) -> None:
    """In one step: one snapshot. In several, every commit of the agent would make the copy begin again."""
    with target.backup("main", source, "main") as run:
        run.step(-1)


def check(connection: apsw.Connection, name: str) -> audit.Verdict:
    """The slow, full check: SQLite's own, and the audit chain. Raises StoreCorrupt."""
    try:
        problems = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(5)") if row[0] != "ok"]
        problems += changed_payloads(connection)
    except FATAL_ERRORS as error:
        problems = [str(error)]
    if problems:
        raise StoreCorrupt(f"{name} is damaged: {'; '.join(problems)}; run `gatepost recover`")
    verdict = audit.verify_file(connection)
    if verdict.broken_at is not None:
        raise StoreCorrupt(f"{name}: the audit trail is broken at row {verdict.broken_at}: {verdict.why}")
    return verdict


def changed_payloads(connection: apsw.Connection, at_most: int = 5) -> list[str]:
    """Rows whose content is not what their hash says: what SQLite's own check cannot see."""
    found = []
    for posting_id, payload, hashed in connection.execute(
        "SELECT id, CAST(payload AS BLOB), payload_hash FROM posting ORDER BY id"
    ):
        if sha256(payload).digest() != hashed:
            found.append(f"posting {posting_id} is not what was decided")
    for event_id, payload, hashed in connection.execute(
        "SELECT event.id, payload, payload_hash FROM event JOIN identity USING (message_key) "
        "WHERE identity.event_id = event.id"
    ):
        if sha256(payload).digest() != hashed:
            found.append(f"event {event_id} is not what arrived")
    return found[:at_most]


def set_aside(store: Path, now: datetime) -> Path:
    """Move the store's files out of the way, together, into a folder beside it; nothing is deleted."""
    folder = store.parent / f"set-aside-{now:%Y%m%dT%H%M%S}"
    folder.mkdir()
    for end in BESIDE:
        path = store.with_name(store.name + end)
        if path.exists():
            path.rename(folder / path.name)
    return folder


def restore(store: Path, copy: Path, now: datetime) -> Path | None:
    """Put a backup in the store's place; returns where the old files went.

    Raises StoreLocked, NotFound, StoreCorrupt.
    """
    if not copy.exists():
        raise NotFound(f"there is no backup {copy}")
    with file.owned(store):
        coming = store.with_name(store.name + ".restoring")
        try:
            _copy_checked(copy, coming)
        except BaseException:
            coming.unlink(missing_ok=True)
            raise
        old = set_aside(store, now) if any(store.with_name(store.name + end).exists() for end in BESIDE) else None
        coming.rename(store)
        return old


def _copy_checked(copy: Path, coming: Path) -> None:
    """Check the backup and copy it beside the store, on disk. Raises StoreCorrupt, StoreError."""
    coming.unlink(missing_ok=True)
    try:
        with closing(file.reader(copy)) as source, closing(apsw.Connection(str(coming))) as target:
            check(source, str(copy))
            _copy_all(source, target)
    except FATAL_ERRORS as error:
        raise StoreCorrupt(f"{copy} is damaged: {error}; take another backup") from error
    except apsw.Error as error:
        raise StoreError(f"{copy} cannot be copied to {coming.parent}: {error}") from error
    with coming.open("rb") as stream:
        os.fsync(stream.fileno())
