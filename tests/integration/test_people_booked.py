"""`gatepost compare --erp` reads out of SAP what people booked by themselves: page by page, without the agent's own."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from agent.erp import people_booked
from tests.command_line import gatepost_
from tests.integration.erp_calls import CONFIRMATIONS, MATERIAL_DOCUMENTS, confirmation, connected, goods_issue
from tests.plant import PASSWORD, START, Plant, plant, until

DAY = f"{START:%Y-%m-%d}"
NEXT = f"{START + timedelta(days=1):%Y-%m-%d}"
GUID = "7c9e6679-7425-40de-944b-e07fc1f90ae7"


def advising(content: dict[str, Any]) -> None:
    """People book; the agent only says what it would."""
    for name in ("consumption", "confirmation"):
        content["authority"][name] = {"mode": "advise"}


async def books(line: Plant) -> None:
    """SCHMIDT books what was reported: as it was, once otherwise, once what nobody reported, once to take it back."""
    told = (("1000100", "9.600"), ("1000101", "9.600"), ("1000102", "8.000"), ("1000109", "1.000"), ("1000108", "7.7"))
    async with connected(line.sap) as sap:
        for number, (order, quantity) in enumerate(told):
            body = goods_issue(f"P{number}", order=order, quantity=quantity)
            answer = await sap.post(MATERIAL_DOCUMENTS, "A_MaterialDocumentHeader", body)
            assert answer.status_code == 201, answer.text
        year, number_ = line.booked("1000108")[0].split("/")
        cancel = f"Cancel?MaterialDocumentYear='{year}'&MaterialDocument='{number_}'"
        assert (await sap.post(MATERIAL_DOCUMENTS, cancel)).status_code == 200
        assert (await sap.post(CONFIRMATIONS, "ProdnOrdConf2", confirmation("C", GUID))).status_code == 201
    for document in line.sap.erp.books.documents:
        document.header |= {"CreatedByUser": "SCHMIDT", "EnteredByUser": "SCHMIDT"}
    line.sap.erp.books.documents[1].header["CreatedByUser"] = "GATEPOST"


async def test_what_people_booked_is_taken_from_sap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One the same, one otherwise, one that no report explains; in pages of two, and nothing of the agent's user."""
    monkeypatch.setattr(people_booked, "PAGE", 2)
    monkeypatch.setenv("GATEPOST_SECRET_ERP_PASSWORD", PASSWORD)
    async with plant(tmp_path, change=advising) as line:
        for number in range(3):
            body = line.report(f"100010{number}")
            line.publish(body)
            await until(lambda id=body["id"]: line.event(id) is not None, "it is decided")  # type: ignore[misc]
        await books(line)
        span = ("--from", DAY, "--to", NEXT)
        ran = await asyncio.to_thread(
            gatepost_, tmp_path / "agent.yaml", "compare", *span, "--erp", "s4", "--workflow", "consumption", "--json"
        )
        (found,) = json.loads(ran.out)["workflows"]
        assert found["people"]["alone"] == {"same": 1, "otherwise": 1, "not": 1, "open": 0, "unknown": 0}
        assert found["by_people_alone"] == line.booked("1000109")
        assert len(found["minutes_waited"]) == 2


async def test_what_the_agent_booked_for_others_than_these_cases_is_not_peoples(tmp_path: Path):
    """Its user is not known (a certificate, OAuth): a document of another day is left out by its number, too."""
    async with plant(tmp_path) as line:
        own = (await line.post()).document
        assert own is not None
        await line.reload(advising)
        line.clock.start += timedelta(days=2)
        body = line.report("1000101")
        line.publish(body)
        await until(lambda: line.event(body["id"]) is not None, "it is decided")
    for document, order, people in ((own, "1000100", []), ("2026/77", "1000100", ["2026/77"])):
        listed = tmp_path / "booked.csv"
        listed.write_text(
            "kind,document,order,about,quantity,unit,day\n"
            f"goods_issue,{document},{order},RM-RESIN,9.6,KG,{START + timedelta(days=2):%Y-%m-%d}\n"
        )
        span = ("--from", f"{START + timedelta(days=1):%Y-%m-%d}", "--to", f"{START + timedelta(days=4):%Y-%m-%d}")
        ran = await asyncio.to_thread(
            gatepost_, tmp_path / "agent.yaml", "compare", *span, "--booked", str(listed), "--workflow", "consumption",
            "--json",
        )  # fmt: skip
        (found,) = json.loads(ran.out)["workflows"]
        assert found["by_people_alone"] == people


async def test_only_a_target_that_keeps_books_is_read(tmp_path: Path):
    """Another name is told as such."""
    async with plant(tmp_path, running_agent=False):
        ran = await asyncio.to_thread(
            gatepost_, tmp_path / "agent.yaml", "compare", "--from", DAY, "--to", NEXT, "--erp", "ecc"
        )
        assert "there is no target 'ecc'" in ran.out
