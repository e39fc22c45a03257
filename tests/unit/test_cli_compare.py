"""`gatepost compare` reads the trail and the ERP's list, and says what speaks for and against more authority."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from agent.ports import Acknowledgement
from agent.store import approvals, archive, outbox
from agent.store.approvals import Signature
from agent.store.writer import Writer
from tests.command_line import Ran, folder, gatepost_
from tests.stores import Clock, add, arrive, claim, opened, posting, reading

START = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
SPAN = ("--from", "2026-11-20", "--to", "2026-11-22")
PAYLOAD = {
    "order": "1000100", "operation": "0010", "material": "RM-RESIN", "quantity": "12.500", "unit": "KGM",
    "posting_date": "2026-11-20",
}  # fmt: skip


def advised(writer: Writer, event: int, quantity: str, in_auto: str = "posted", confidence: float = 0.97) -> None:
    would = [{"kind": "goods_issue", "value": "40.00", "payload": PAYLOAD | {"quantity": quantity}}]
    record(writer, event, "advise", "advised", would_post=would, in_auto=in_auto, confidence=confidence)


def held(writer: Writer, event: int, reasons: list[str], in_auto: str) -> int:
    """A held posting of a workflow in mode `assist`."""
    arrive(writer, b"{}")
    new = posting(event, f"order/{event}", event_id=event, reasons=tuple(reasons), payload=PAYLOAD)
    (made,) = add(writer, new._replace(value=Decimal(f"{event}0.00")))
    record(writer, event, "assist", "held", reasons=reasons, in_auto=in_auto, postings=[[made, "held"]])
    return made


def record(writer: Writer, event: int, mode: str, route: str, **more: Any) -> None:
    told = {"workflow": "consumption", "mode": mode, "route": route, "reasons": [], "confidence": 1.0} | more
    writer.call(lambda tx: tx.audit("decided", told, event_id=event))


def sign(writer: Writer, made: int, meaning: str, by: str = "anna") -> None:
    writer.call(lambda tx: approvals.decide(tx, made, 1, Signature(by, meaning, "looked at it")))


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A store with a week of `assist`: three approved, one refused that auto would have posted, one rightly asked."""
    config = folder(tmp_path)
    clock = Clock(START)
    with opened(tmp_path / "data/gatepost.db", clock) as writer:
        alike = [held(writer, number, ["every posting of this workflow is approved"], "posted") for number in (1, 2, 3)]
        wrong = held(writer, 4, ["every posting of this workflow is approved"], "posted")
        asked = held(writer, 5, ["26 KG reported, 13 KG expected: 200 %"], "held")
        clock.forward(minutes=45)
        for one in alike:
            sign(writer, one, "approve")
        sign(writer, wrong, "refuse", "bernd")
        sign(writer, asked, "refuse")
    return config


def compare(config: Path, *words: str) -> Ran:
    return gatepost_(config, "compare", *SPAN, *words)


def test_what_people_signed_is_held_against_what_auto_would_have_done(place: Path):
    """Three the same, one that it would have posted and a person refused, one that it would have asked about."""
    found = json.loads(compare(place, "--json").out)["workflows"]
    (one,) = found
    assert one["people"]["alone"] == {"same": 3, "otherwise": 0, "not": 1, "open": 0, "unknown": 0}
    assert one["people"]["asked"]["not"] == 1
    assert (one["agreement"]["same"], one["agreement"]["of"]) == (3, 4)
    assert one["money"] == {"same": "60.00", "wrong": "40.00"}
    assert one["minutes_waited"] == [45.0] * 4
    assert one["misses"] == [
        {"event": 4, "order": "1000100", "value": "40.00", "people": "refused by bernd: looked at it"}
    ]
    assert one["enough"] is False
    said = compare(place).out
    assert (
        "Not ready yet for auto: of what it would post by itself people have judged 4 cases, 100 are asked for"
        in " ".join(said.split())
    )
    assert "event 4: order 1000100, 40.00 EUR: refused by bernd" in said


def test_another_workflow_or_time_has_nothing(place: Path):
    """Nothing is made up; a name that decided nothing is told with those that did, and a time of no length."""
    told = " ".join(compare(place, "--workflow", "tea").out.split())
    assert told == "tea decided nothing in this time that would have been booked; others did: consumption"
    ran = gatepost_(place, "compare", "--from", "2026-11-20", "--to", "2026-11-19")
    assert (ran.code, "--to 2026-11-19 00:00 is not behind --from 2026-11-20 00:00" in ran.out) == (2, True)
    assert json.loads(compare(place, "--json", "--workflow", "tea").out)["workflows"] == []
    out = gatepost_(place, "compare", "--from", "2020-01-01", "--to", "2020-01-02").out
    assert "nothing was decided" in out


def test_advice_is_found_among_the_documents_of_the_erp(tmp_path: Path):
    """Without the list it is not known; with it each has its document, and what no report explains is told."""
    config = folder(tmp_path, f"units: {Path(__file__).parents[2] / 'edge_config/units.yaml'}\n")
    with opened(tmp_path / "data/gatepost.db", Clock(START)) as writer:
        for event, quantity in enumerate(("12.500", "3.000", "7.000"), start=1):
            arrive(writer, b"{}")
            advised(writer, event, quantity)
    assert json.loads(compare(config, "--json").out)["workflows"][0]["people"]["alone"]["unknown"] == 3
    booked = tmp_path / "booked.csv"
    booked.write_text(
        "kind,document,order,about,quantity,unit,day,entered_at,by\n"
        "goods_issue,49001,1000100,RM-RESIN,12.5,KG,2026-11-20,2026-11-20T14:00:00+00:00,SCHMIDT\n"
        "goods_issue,49002,1000100,RM-RESIN,3.5,KG,2026-11-20,,\n"
        "goods_issue,49003,1000199,RM-RESIN,1,KG,2026-11-20,,\n"
    )
    (one,) = json.loads(compare(config, "--json", "--booked", str(booked)).out)["workflows"]
    assert one["people"]["alone"] == {"same": 1, "otherwise": 1, "not": 1, "open": 0, "unknown": 0}
    assert one["by_people_alone"] == ["49003"]
    assert one["minutes_waited"] == [120.0]


def test_the_page_is_one_file_that_needs_nothing_else(place: Path, tmp_path: Path):
    """No script, no network, whole SVG; it says the verdict, for and against; what is there is not replaced."""
    page = tmp_path / "parallel.html"
    assert "written" in compare(place, "--html", str(page)).out
    text = page.read_text()
    assert not re.search(r"<script|<link|src=|href=|url\(|https?://", text)
    drawings = re.findall(r"<svg.*?</svg>", text, re.DOTALL)
    assert len(drawings) == 3
    for one in drawings:
        ElementTree.fromstring(one)
    for words in ("What speaks for it", "What speaks against it", "Not ready yet", "refused by bernd", "surely"):
        assert words in text
    assert compare(place, "--html", str(page)).code == 2


def test_what_is_archived_is_compared_too(place: Path, tmp_path: Path):
    """After the retention the same figures come out of the archive files."""
    before = json.loads(compare(place, "--json").out)["workflows"][0]["agreement"]
    clock = Clock(START + timedelta(days=200))
    with opened(tmp_path / "data/gatepost.db", clock) as writer:
        for number in (1, 2, 3):
            for one in claim(writer):
                ack = Acknowledgement(f"2026/{number}{one.posting.id}")
                writer.call(lambda tx, one=one, ack=ack: outbox.acknowledged(tx, one.posting, ack))  # type: ignore[misc]
        with reading(writer.path) as live:
            moved = archive.archive(
                writer, live, tmp_path / "data/archive", clock() + timedelta(days=200), timedelta(1)
            )
    assert moved.postings == 5
    assert json.loads(compare(place, "--json").out)["workflows"][0]["agreement"] == before
