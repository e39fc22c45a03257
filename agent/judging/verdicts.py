"""What was judged, on its way into a commit; and what judging remembers, seen from inside of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import apsw

from agent.judging.judgement import Judgement
from agent.store import awaited, inbox, masterdata, notices, outbox, postings
from agent.store.transaction import Transaction


def write(tx: Transaction, judgement: Judgement, patient_since: int) -> int:
    """Events settled, postings made, state moved, waiting reports let in, all audited: one transaction."""
    inbox.settle(
        tx,
        [
            inbox.Settlement(one.event.id, one.state, one.message_key, one.payload_hash, one.reason)
            for one in judgement.verdicts
        ],
    )
    news = _unsaid(tx, judgement)
    made = iter(postings.add_all(tx, [new for each in news for new in each]))
    for one, each in zip(judgement.verdicts, news, strict=True):
        detail = one.detail
        if each:
            detail["postings"] = [next(made) for _ in each]
        if len(each) < len(one.postings):
            detail["told_before"] = [new.tells.cause for new in one.postings if new.tells and new not in each]
        for new, (posting_id, _) in zip(each, detail.get("postings", ()), strict=True) if _tells(each) else ():
            notices.remember(tx, posting_id, new)
        tx.audit(one.action, detail, event_id=one.event.id, alarm=one.alarm)
        if one.withdraws is not None:
            outbox.withdraw(tx, *one.withdraws, one.event.id)
    inbox.put_states(tx, judgement.states.items())
    awaited.wait(tx, [(one.awaits, one.event.id) for one in judgement.verdicts if one.awaits is not None])
    awaited.wait(tx, [((awaited.OF_ORDER, order), event_id) for order, event_id in judgement.in_quarantine()])
    if not judgement.documents:
        return 0
    masterdata.put(tx, judgement.documents, "erp")
    return awaited.let_in(tx, [(kind, key) for kind, key, _ in judgement.documents], patient_since)


def _unsaid(tx: Transaction, judgement: Judgement) -> list[list[postings.NewPosting]]:
    """The postings of each verdict, without notifications whose cause was told a moment ago, or is in this commit."""
    fresh: set[tuple[str, str]] = set()
    return [
        notices.unsaid(tx, one.postings, fresh) if _tells(one.postings) else one.postings for one in judgement.verdicts
    ]


def _tells(news: Iterable[postings.NewPosting]) -> bool:
    return any([new.tells is not None for new in news])  # noqa: C419  # a generator takes twice as long


class Inside(NamedTuple):
    """See `judge.Memory`: what is committed, and what this commit has written so far."""

    connection: apsw.Connection

    def known(self, message_keys: Iterable[str]) -> Mapping[str, tuple[bytes, int]]:
        """See `judge.Memory`."""
        return inbox.known(self.connection, message_keys)

    def states(self, keys: Iterable[str]) -> Mapping[str, Any]:
        """See `judge.Memory`."""
        return inbox.states(self.connection, keys)

    def in_quarantine(self, orders: Iterable[str]) -> set[tuple[str, int]]:
        """See `judge.Memory`."""
        return awaited.in_quarantine(self.connection, orders)
