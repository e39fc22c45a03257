"""What people can do, in one place for API, command line and Perspective: look, decide, stop, let go, take back.

Looking reads the file through a read-only connection; acting is one job of the writer. Every act carries who and why.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import apsw

from agent.errors import Conflict, NotFound
from agent.ports import REVERSIBLE, Clock, Kind
from agent.store import approvals, audit, awaited, file, inbox, lists, notices, outbox, pauses, postings, reversals
from agent.store.approvals import Signature, once
from agent.store.jobs import Job
from agent.store.lanes import blocked_by
from agent.store.trace import trace
from agent.store.transaction import Transaction
from agent.store.writer import Writer

T = TypeVar("T")
Look = Callable[[apsw.Connection], T]


@dataclass(frozen=True, slots=True)
class Act:
    """Who acts and why; `key` makes a repeated request harmless, `session` is kept with every row that it writes."""

    by: str
    reason: str
    key: str = ""
    session: str = ""  # how they came in: it ties the acts of one logon together

    def done(self, tx: Transaction, request: Mapping[str, Any], job: Job[T]) -> T:
        """Do it, or give the answer that this very request got under its key. Raises Conflict for another request."""
        tx.session = self.session
        answer: T = once(tx, self.key, request, lambda: job(tx)) if self.key else job(tx)
        return answer


class Desk:
    """Reads and acts on one store. `wake` tells the dispatchers and the process loop that something changed.

    `four_eyes` names the workflows whose postings two people must approve now.
    """

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        wake: Callable[[], None] = lambda: None,
        four_eyes: Callable[[], Collection[str]] = tuple,
    ) -> None:
        self.writer = writer
        self._clock = clock
        self._wake = wake
        self.four_eyes = four_eyes

    def now(self) -> datetime:
        """What time it is for those who act."""
        return self._clock()

    # ── look ────────────────────────────────────────────────────────────────────────────────────────────

    def look(self, at: Look[T]) -> T:
        """Read with a connection of its own: call it from a thread when rows may be many."""
        return look(self.writer.path, at)

    def wake(self) -> None:
        """Events or postings were written beside the loops."""
        self._wake()

    # ── act ─────────────────────────────────────────────────────────────────────────────────────────────

    async def decide(self, posting_id: int, expected_version: int, signature: Signature, key: str = "") -> Any:
        """Approve or refuse a held posting. Raises NotFound, Conflict (by whom it was decided)."""
        request = {"act": "decide", "id": posting_id, "version": expected_version, **asdict(signature)}

        def job(tx: Transaction) -> Any:
            return approvals.decide(tx, posting_id, expected_version, signature, self.four_eyes())

        return await self._act(Act(signature.by, signature.reason, key, signature.session), request, job)

    async def replay(self, posting_id: int, act: Act) -> Any:
        """Send a dead letter again, unchanged. Raises NotFound, Conflict."""
        return await self._on_posting("replay", posting_id, act, outbox.replay, "ready")

    async def give_up(self, posting_id: int, act: Act) -> Any:
        """Never post a dead or doubtful one; what is held is for those who may approve. Raises NotFound, Conflict."""
        never = partial(outbox.refuse, only=("dead", "doubtful"))
        return await self._on_posting("give_up", posting_id, act, never, "refused")

    async def seen(self, posting_id: int, act: Act) -> Any:
        """Somebody has seen a notification: nobody else is told. Raises NotFound, Conflict."""

        def write(tx: Transaction) -> Any:
            notices.seen(tx, posting_id, by=act.by, reason=act.reason)
            return {"id": posting_id, "state": "seen", "by": act.by}

        return await self._act(act, {"act": "seen", "id": posting_id, "by": act.by}, write)

    async def not_booked(self, posting_id: int, act: Act) -> Any:
        """A person made sure that a doubtful posting is not in the ERP: send it. Raises NotFound, Conflict."""
        return await self._on_posting("not_booked", posting_id, act, outbox.not_booked, "ready")

    async def name_document(self, posting_id: int, document: str, act: Act) -> Any:
        """A person found the document of a doubtful posting. Raises NotFound, Conflict."""

        def write(tx: Transaction) -> Any:
            outbox.name_document(tx, posting_id, document, by=act.by, reason=act.reason)
            return {"id": posting_id, "state": "acknowledged", "document": document, "by": act.by}

        request = {"act": "name_document", "id": posting_id, "document": document, "by": act.by, "reason": act.reason}
        return await self._act(act, request, write)

    async def replay_event(self, event_id: int, act: Act) -> Any:
        """Read a quarantined event again, after the mapping was mended. Raises NotFound, Conflict."""

        def write(tx: Transaction) -> Any:
            inbox.replay(tx, event_id, by=act.by, reason=act.reason)
            return {"event": event_id, "state": "undecided", "by": act.by}

        return await self._act(act, {"act": "replay_event", "id": event_id, "by": act.by}, write)

    async def keep_event(self, event_id: int, act: Act) -> Any:
        """Leave a quarantined event there, whatever becomes known of its order. Raises NotFound, Conflict."""

        def write(tx: Transaction) -> Any:
            awaited.keep(tx, event_id, by=act.by, reason=act.reason)
            return {"event": event_id, "state": "quarantined", "by": act.by}

        return await self._act(act, {"act": "keep_event", "id": event_id, "by": act.by}, write)

    async def pause(self, scope: str, key: str, act: Act, *, force: bool = False) -> Any:
        """Stop sending for a target, a line or an order. Raises NotFound for what nobody knows, unless forced."""

        def write(tx: Transaction) -> Any:
            if not force:
                pauses.require_known(tx.connection, scope, key)
            pauses.pause(tx, scope, key, by=act.by, reason=act.reason)
            return {"scope": scope, "key": key, "paused": True, "by": act.by}

        return await self._act(act, {"act": "pause", "scope": scope, "key": key, "by": act.by}, write)

    async def resume(self, scope: str, key: str, act: Act) -> Any:
        """Let it go on. Raises NotFound."""

        def write(tx: Transaction) -> Any:
            pauses.resume(tx, scope, key, by=act.by, reason=act.reason)
            return {"scope": scope, "key": key, "paused": False, "by": act.by}

        return await self._act(act, {"act": "resume", "scope": scope, "key": key, "by": act.by}, write)

    async def reverse(self, document: str, act: Act) -> Any:
        """Take back a booked document by a posting of its own, signed by whoever asks. Raises NotFound, Conflict."""
        return await self._act(
            act,
            {"act": "reverse", "document": document, "by": act.by, "reason": act.reason},
            lambda tx: reverse(tx, document, act),
        )

    async def _on_posting(self, name: str, posting_id: int, act: Act, write: Callable[..., None], state: str) -> Any:
        def job(tx: Transaction) -> Any:
            write(tx, posting_id, by=act.by, reason=act.reason)
            return {"id": posting_id, "state": state, "by": act.by}

        return await self._act(act, {"act": name, "id": posting_id, "by": act.by, "reason": act.reason}, job)

    async def act(self, job: Job[T]) -> T:
        """One act of a person, by a job of its own."""
        answer: T = await self.writer.run(job)
        self._wake()
        return answer

    async def _act(self, act: Act, request: Mapping[str, Any], job: Job[Any]) -> Any:
        answer = await self.writer.run(lambda tx: act.done(tx, request, job))
        self._wake()
        return answer


def reverse(tx: Transaction, document: str, act: Act) -> Mapping[str, Any]:
    """The posting that takes back `document`; it is taken back once, and asked again where that came to nothing.

    Raises NotFound, Conflict.
    """
    rows: list[Any] = tx.execute("SELECT id FROM posting WHERE document = ? LIMIT 2", (document,)).fetchall()
    if not rows:
        raise NotFound(f"no posting of this agent booked document {document!r}; `gatepost trace` finds documents")
    if len(rows) > 1:
        raise Conflict(f"more than one posting booked a document {document!r}; take the right one back in the ERP")
    original = postings.read(tx.connection, rows[0][0])
    one = original.posting
    if one.kind is Kind.REVERSAL:
        raise Conflict(f"{document} is itself a reversal; post the report again instead")
    if one.kind not in REVERSIBLE:
        raise Conflict(f"{document}: the {one.kind.value} of posting {one.id} has no reversal; mend it in the ERP")
    _refuse_under_way(tx, document, reversals.of(tx.connection, one.idempotency_key))
    payload = {
        "of_kind": one.kind.value, "document": document, "order": one.payload.get("order", ""),
        "posting_date": one.payload.get("posting_date", ""), "reason": act.reason, "of_key": one.idempotency_key,
    }  # fmt: skip
    new = postings.NewPosting(
        event_id=one.event_id, workflow="reverse", kind=Kind.REVERSAL, target=one.target, ordering_key=one.ordering_key,
        line=original.line, idempotency_key=reversals.key_of_next(tx.connection, one.idempotency_key, one.target),
        payload=payload, value=original.value, policy="signed",
    )  # fmt: skip
    posting_id, state = postings.add(tx, new)
    tx.execute("UPDATE posting SET approved = 1 WHERE id = ?", (posting_id,))
    detail = {"meaning": "reverse", "reason": act.reason, "document": document, "posting": posting_id}
    tx.audit("reversal_signed", detail, actor=act.by, event_id=one.event_id, posting_id=posting_id)
    answer = {"id": posting_id, "state": state, "document": document, "by": act.by}
    stuck = blocked_by(tx.connection, one.target, one.ordering_key)
    return {**answer, "waits_for": _decide_first(*stuck)} if stuck is not None else answer


def _decide_first(posting_id: int, state: str) -> str:
    return f"posting {posting_id}, which is {state} and blocks its lane: gatepost deadletter show {posting_id}"


def _refuse_under_way(tx: Transaction, document: str, other: int | None) -> None:
    """What one posting takes back no second one does. Raises Conflict."""
    if other is None:
        return
    words = f"{document} is already being taken back by posting {other}"
    if tx.execute("SELECT state FROM posting WHERE id = ?", (other,)).get == "dead":
        words += (
            f", which the ERP refused: `gatepost deadletter replay {other}` sends it again, and after `gatepost "
            f"deadletter refuse {other}` it can be asked anew"
        )
    raise Conflict(words, by=tx.last_actor(other))


def look(path: Path, at: Look[T]) -> T:
    """Read one store, also while no agent runs. Raises NotFound when there is none."""
    if not path.exists():
        raise NotFound(f"there is no store at {path}; has the agent ever run with this configuration?")
    with closing(file.reader(path)) as connection:
        return at(connection)


__all__ = ["Act", "Desk", "Signature", "audit", "lists", "look", "reverse", "trace"]
