"""How long a claim takes in a small and in a large store, in turn: claim and acknowledge through the real writer."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from agent.app import utc_now
from agent.ports import Acknowledgement
from agent.store import outbox, pauses, postings
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.bench.results import median, percentile
from tests.bench.sides import arguments, tell

WIRE = outbox.Send(b"POST API_MATERIAL_DOCUMENT_SRV/A_MaterialDocumentHeader\n\n{}")


class Store:
    """One store, and how long its claims took."""

    def __init__(self, data: str) -> None:
        self.writer = Writer(Path(data) / "gatepost.db", utc_now)
        self.writer.start()
        self.writer.call(lambda tx: pauses.resume(tx, "target", "s4", by="bench", reason="measured"))
        self.claims: list[float] = []
        self.answers: list[float] = []

    def round(self, window: int) -> None:
        """Claim a window's worth and acknowledge it; seconds inside of the transaction."""
        claimed = self.writer.call(lambda tx: self._timed(self.claims, lambda: self._claim(tx, window)))
        self.writer.call(lambda tx: self._timed(self.answers, lambda: self._acknowledge(tx, claimed)))

    def close(self) -> None:
        """Leave the store as it was found: paused."""
        self.writer.call(lambda tx: pauses.pause(tx, "target", "s4", by="bench", reason="measured"))
        self.writer.stop()

    @staticmethod
    def _timed(into: list[float], act: Any) -> Any:
        began = time.perf_counter()
        result = act()
        into.append(time.perf_counter() - began)
        return result

    @staticmethod
    def _claim(tx: Transaction, window: int) -> list[postings.Waiting]:
        claimed = outbox.claim(tx, "s4", window, lambda _: WIRE)
        if len(claimed) != window:
            raise ValueError(f"only {len(claimed)} of {window} postings could be claimed")
        return claimed

    @staticmethod
    def _acknowledge(tx: Transaction, claimed: list[postings.Waiting]) -> None:
        for one in claimed:
            outbox.acknowledged(tx, one.posting, Acknowledgement(f"2026/{one.posting.id}"))

    def figures(self) -> dict[str, float]:
        """Milliseconds."""
        return {
            "claim_ms": median(self.claims) * 1e3, "claim_p99_ms": percentile(self.claims, 99) * 1e3,
            "acknowledge_ms": median(self.answers) * 1e3,
        }  # fmt: skip


def main(small: str, large: str, rounds: int, window: int, **_: Any) -> None:
    """Claim from the small and the large store in turn."""
    stores = Store(small), Store(large)
    for _round in range(rounds):
        for store in stores:
            store.round(window)
    for store in stores:
        store.close()
    tell({"small": stores[0].figures(), "large": stores[1].figures(), "rounds": rounds, "window": window})


if __name__ == "__main__":
    main(**arguments())
