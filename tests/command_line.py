"""The command line in this process, on a real store in a temporary folder."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from click.testing import CliRunner

from agent.cli import gatepost
from agent.errors import GatepostError
from agent.ports import Acknowledgement
from agent.store import inbox, outbox, postings
from tests import stores

CONFIG = """\
plant: {site: "1710", time_zone: Europe/Berlin, currency: EUR}
store: {path: data/gatepost.db}
"""
MESSAGE = b'{"id": "A-1", "quantity": 12.5}'
DOCUMENT = "2026/4900000001"


@dataclass(frozen=True)
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str


def gatepost_(config: Path, *words: str, **options: Any) -> Ran:
    """Run one command as the console does."""
    result = CliRunner().invoke(gatepost, list(words), env={"GATEPOST_CONFIG": str(config)}, **options)
    if result.exception is None or isinstance(result.exception, SystemExit):
        return Ran(result.exit_code, result.output)
    if not isinstance(result.exception, GatepostError):
        raise result.exception
    return Ran(result.exception.exit_code, result.output + str(result.exception))


def folder(place: Path, more: str = "") -> Path:
    """A configuration that names a store; returns its file."""
    config = place / "agent.yaml"
    config.write_text(CONFIG + more)
    (place / "data").mkdir(exist_ok=True)
    return config


def filled(place: Path, more: str = "") -> Path:
    """The same with a store: 1 booked, 2 dead, 3 held, 4 held for two people, 5 doubtful; event 2 is quarantined."""
    config = folder(place, more)
    with stores.opened(place / "data" / "gatepost.db", stores.Clock(datetime.now(UTC))) as writer:
        stores.arrive(writer, MESSAGE, b'{"id": "A-2\x1b[31m"}')
        settled = [
            inbox.Settlement(1, "posted", "consumption:A-1", sha256(MESSAGE).digest()),
            inbox.Settlement(2, "quarantined", reason='$.unit: "stone" is no unit'),
        ]
        writer.call(lambda tx: inbox.settle(tx, settled))
        writer.call(lambda tx: tx.audit("decided", {"reasons": ["within tolerance"], "would_post": []}, event_id=1))
        stores.add(
            writer,
            stores.posting(1, event_id=1),
            stores.posting(2, "order/2"),
            stores.posting(3, "order/3", reasons=("200 % of what was expected",)),
            stores.posting(4, "order/4", reasons=("four eyes",), signers=2),
            stores.posting(5, "order/5"),
        )
        one, two, five = (waiting.posting for waiting in stores.claim(writer))
        writer.call(lambda tx: outbox.acknowledged(tx, one, Acknowledgement(DOCUMENT)))
        writer.call(lambda tx: outbox.dead(tx, two, "Deficit of SL Unrestricted-use 5 KG", code="M7/021"))
        writer.call(lambda tx: outbox.in_doubt(tx, five, 0, "read timeout"))
        doubt = writer.call(lambda tx: postings.read(tx.connection, 5).posting)
        writer.call(lambda tx: outbox.doubtful(tx, doubt, "two lookups found nothing"))
    return config
