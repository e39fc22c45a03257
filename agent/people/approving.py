"""A person decides about a held posting: one way, whether they come by HTTP or by OPC UA."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import apsw

from agent.access.callers import Identity
from agent.access.rights import Action, Right
from agent.errors import NotFound, StoreError
from agent.people.desk import Desk
from agent.people.permission import Matter, permit
from agent.store import approvals
from agent.store.approvals import Signature
from agent.store.writer import Writer

T = TypeVar("T")
ACT_S: Final = 10.0  # how long an act waits for its commit before whoever asked is told that nobody knows


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants: `meaning` is "approve" or "refuse", `expected_version` the one that was shown."""

    meaning: str
    posting_id: int
    expected_version: int
    reason: str
    on_behalf_of: str | None = None
    record_hash: str = ""
    key: str = ""  # makes a repetition harmless; keys of different callers never meet


async def decide(desk: Desk, asked: Asked, caller: Identity, rights: Sequence[Right], again: str) -> Mapping[str, Any]:
    """Sign it, on disk. The caller's scope is the door's business; `again` see `committed`.

    Raises Forbidden, NotFound, Conflict, StoreError.
    """
    found = await asyncio.to_thread(desk.look, lambda connection: visible(connection, asked.posting_id, caller))
    by = caller.actor(asked.on_behalf_of)
    await permit(desk, caller, rights, Action(asked.meaning), Matter.of(found), by)
    signature = Signature(
        by,
        asked.meaning,
        asked.reason,
        roles=tuple(sorted(caller.roles or (scope.value for scope in caller.scopes))),
        session=caller.session,
        record_hash=asked.record_hash,
    )
    key = f"{caller.name}:{asked.key}" if asked.key else ""
    answer: Mapping[str, Any] = await committed(
        desk.writer, desk.decide(asked.posting_id, asked.expected_version, signature, key), again
    )
    return answer


def visible(connection: apsw.Connection, posting_id: int, caller: Identity) -> dict[str, Any]:
    """One posting; one of another line does not exist for this caller. Raises NotFound."""
    found = approvals.show(connection, posting_id)
    if not caller.sees(found["line"]):
        raise NotFound(f"there is no posting {posting_id}")
    return found


async def committed(writer: Writer, act: Coroutine[Any, Any, T], again: str) -> T:
    """The answer of an act once it is on disk. Raises StoreError where that takes too long.

    `again` says, in the words of the face, what to do when nobody knows whether it was done.
    """
    if writer.figures.trouble:
        act.close()
        raise StoreError(f"nothing was done: the store cannot commit now ({writer.figures.trouble})")
    task = asyncio.create_task(act)
    task.add_done_callback(_retrieved)
    done, _ = await asyncio.wait({task}, timeout=ACT_S)
    if not done:
        raise StoreError(
            f"the commit did not come back within {ACT_S:g} s, and it is not known whether it will; {again}"
        )
    return task.result()


def _retrieved(task: asyncio.Task[Any]) -> None:
    """Nobody may be waiting any more when it ends; the error is told to whoever asks again."""
    if not task.cancelled():
        task.exception()
