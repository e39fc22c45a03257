"""GET: the audit trail, row by row and as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Annotated

from fastapi import Query
from fastapi.responses import StreamingResponse

from agent.access.masking import veiled
from agent.people.desk import lists
from agent.people.veil import covered
from agent.store import audit as trail
from agent.store import file
from agent.store.encode import from_us
from agent.web import models
from agent.web.answers import Refused
from agent.web.looks import Reader
from agent.web.requests import After, Limit, TheAgent, everywhere, look, new_router

router = new_router()


@router.get("/v1/audit", tags=["audit"])
async def list_audit(
    agent: TheAgent,
    caller: Reader,
    after: After = 0,
    limit: Limit = 100,
    *,
    alarms: Annotated[bool, Query(description="Only rows that somebody should see")] = False,
) -> models.AuditRows:
    """The audit trail behind row `after`; without it the newest rows."""
    everywhere(caller)
    found = await look(agent, lambda at: lists.history(at, after=after, limit=limit, alarms_only=alarms))
    found = veiled(found, covered(agent.config, caller))
    return models.AuditRows.model_validate({"items": found, "next": found[-1]["seq"] if found else after or None})


@router.get("/v1/audit/verify", tags=["audit"])
async def verify_audit(agent: TheAgent, caller: Reader) -> models.Verified:
    """Recompute the chain of the live trail now; `gatepost audit verify` checks archives and checkpoints as well."""
    everywhere(caller)
    found = await look(agent, trail.verify_file)
    broken = f"row {found.broken_at} {found.why}" if found.broken_at is not None else None
    return models.Verified(
        ok=broken is None, rows=found.rows, head=found.head.seq, hash=found.head.hash.hex(), broken=broken
    )


@router.get("/v1/audit/export", tags=["audit"], response_class=StreamingResponse)
async def export_audit(agent: TheAgent, caller: Reader) -> StreamingResponse:
    """The whole live trail as lines of JSON, with the hashes that chain its rows."""
    everywhere(caller)
    if covered(agent.config, caller):  # the hashes are over what is masked, too
        raise Refused(403, "forbidden", "the export has everything in it: it needs a role with read_sensitive")
    return StreamingResponse(_lines(agent.config.store.path), media_type="application/x-ndjson")


@router.get("/v1/audit/checkpoint", tags=["audit"])
async def show_checkpoint(agent: TheAgent, caller: Reader) -> models.Checkpoint:
    """Where the audit chain ends, signed: whoever keeps it elsewhere can tell whether the trail was rebuilt."""
    everywhere(caller)
    return models.Checkpoint(checkpoint=await look(agent, lambda _: agent.housekeeping.signed_head()))


def _lines(path: Path) -> Iterator[str]:
    """Every row as a line of JSON, read in pieces: see `trail.rows`."""
    with closing(file.reader(path)) as connection:
        for seq, at_us, actor, action, event, posting, alarm, detail, prev, hashed in trail.rows(connection):
            row = {
                "seq": seq, "at": from_us(at_us).isoformat(), "actor": actor, "action": action, "event": event,
                "posting": posting, "alarm": bool(alarm), "detail": json.loads(detail), "prev": prev.hex(),
                "hash": hashed.hex(),
            }  # fmt: skip
            yield json.dumps(row, ensure_ascii=False) + "\n"
