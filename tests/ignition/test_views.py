"""The views, drawn by the bench gateway from the project's own files, against a running agent."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from simulators.gateway.gateway import Gateway, User
from simulators.gateway.sessions import Page
from tests.api_bench import Bench, bench, free_port, until
from tests.findings_bench import found
from tests.gateway_bench import RIGHTS, SECRET, held, tokens
from tests.lots_bench import configured, keep_lots

pytestmark = pytest.mark.asyncio(loop_scope="module")
FOLDER = Path(__file__).resolve().parents[2] / "ignition_project"
PEOPLE = [User("anna", "Anna", "Berg", ("Supervisor",), "bench"), User("ben", "Ben", "Alt", ("Supervisor",), "bench")]
ADDRESS = "[default]Gatepost/Settings/Address"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("views")
    for name, value in (("gateway_signing", SECRET), ("other_signing", "b" * 40)):
        path = folder / "secrets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)
    keep_lots(folder, ("L-1", "12", "critical"), ("L-2", "180", "major"))
    api = {"tokens": tokens(), "rate_per_second": 2000}
    every = configured(folder, "confirmation", "reconciliation")
    async with bench(folder, api=api, rights=RIGHTS, **every) as one:
        yield one


@pytest.fixture
def gateway(plant: Bench) -> Gateway:
    secrets = {"gatepost-token": "gateway-secret", "gatepost-signing": SECRET}
    one = Gateway(FOLDER / "Gatepost", [FOLDER / "tags/gatepost.json"], PEOPLE, secrets)
    one.tags.write(ADDRESS, plant.url)
    one.known["gatepost"].gateway.ANSWER_MS = 60_000  # on a busy machine a slow answer is no fault
    return one


class Screen:
    """One page of one person, worked without a browser; scripts run beside the loop, for they ask the agent."""

    def __init__(self, gateway: Gateway, user: str, path: str) -> None:
        session = gateway.log_in(user, "bench")
        assert session
        self.gateway, self.path = gateway, path
        self.page = Page(session, path)

    def look(self) -> dict[str, dict[str, Any]]:
        """Name → component of all that is shown; of several with one name the last."""
        drawn = self.page.drawn()
        while self.page.wait(0):  # a script of the view changed something after it was drawn
            drawn = self.page.drawn()
        assert drawn["complaints"] == {}
        found: dict[str, dict[str, Any]] = {}
        for root in (drawn["view"], *(one["view"] for one in drawn["docks"])):
            found |= {one["name"]: one for one in components(root["root"])}
        return found

    def press(self, name: str) -> dict[str, dict[str, Any]]:
        """A button."""
        assert self.look()[name]["props"].get("enabled", True) is not False, name
        self.page.event(self.look()[name]["id"], "component", "onActionPerformed", {})
        return self.look()

    def choose(self, name: str, prop: str, value: Any) -> None:
        """Fill in an input."""
        self.page.write(self.look()[name]["id"], f"props.{prop}", value)

    def prove(self, user: str) -> dict[str, dict[str, Any]]:
        """Answer the challenge."""
        assert self.page.challenge
        assert self.gateway.answer(self.page, self.page.challenge.id, user, "bench") == ""
        return self.look()


def components(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if one["position"].get("display") is False:
        return
    yield one
    for kid in one.get("children", []):
        yield from components(kid)
    for view in one.get("views", []):
        yield from components(view["root"])


def texts(shown: dict[str, dict[str, Any]]) -> str:
    return "\n".join(str(one["props"].get("text", "")) for one in shown.values())


def poll(gateway: Gateway) -> None:
    """What the timer does."""
    for _, file, _ in gateway.project.events("ignition/timer"):
        assert file.read_text().split("\n", 1)[1].strip() == "gatepost.poll.run()"
    gateway.known["gatepost"].poll.run()


async def beside(run: Callable[..., Any], *given: Any) -> Any:
    return await asyncio.to_thread(run, *given)


async def test_every_page_is_drawn_and_stays_readable_without_the_agent(plant: Bench, gateway: Gateway):
    """No binding and no script fails; with the agent away a banner says since when, and nothing can be pressed."""
    id = await held(plant, "page-1", quantity=26)
    await beside(poll, gateway)
    paths = ["/", f"/approval/{id}", "/approval/none", "/orders", "/scrap", "/lot/1", "/findings", "/trace",
             "/trace/page-1", "/health"]  # fmt: skip
    screens = [await beside(Screen, gateway, "anna", path) for path in paths]
    here = {one.path: await beside(one.look) for one in screens}
    assert id in [one["id"] for one in here["/"]["Queue"]["props"]["data"]]
    assert here[f"/approval/{id}"]["Amount"]["props"]["text"] == "26 KG"
    assert here["/orders"]["Board"]["props"]["data"][0]["held"] >= 1
    assert here["/health"]["Agent"]["props"]["params"]["value"] == "Ready"
    assert here[f"/approval/{id}"]["Risk"]["props"]["text"] == "MEDIUM RISK"
    current = {
        path: [n for n in ("Approvals", "Orders", "Trace") if one[n]["props"].get("primary")]
        for path, one in here.items()
    }
    assert [current[path] for path in ("/", f"/approval/{id}", "/orders", "/trace/page-1", "/health")] == [
        ["Approvals"],
        ["Approvals"],
        ["Orders"],
        ["Trace"],
        [],
    ]
    assert all("Since" not in one for one in here.values())
    gateway.tags.write(ADDRESS, f"http://127.0.0.1:{free_port()}")
    await beside(poll, gateway)
    for one in screens:
        shown = await beside(one.look)
        assert shown["Since"]["props"]["text"] == "The agent has not answered since", one.path
        assert shown["At"]["props"]["text"], one.path
        assert "Agent away" in texts(shown), one.path
        if one.path == "/":
            assert shown["Queue"]["props"]["data"] == here["/"]["Queue"]["props"]["data"]
        if one.path == f"/approval/{id}":
            assert shown["Amount"]["props"]["text"] == "26 KG"
            assert [shown[name]["props"]["enabled"] for name in ("Approve", "Refuse", "Correct")] == [False] * 3


async def test_two_supervisors_at_one_posting(plant: Bench, gateway: Gateway):
    """Both see it, one signs; whoever comes second is told by whom it was decided, and what is true now."""
    id = await held(plant, "two-2", quantity=26)
    await beside(poll, gateway)
    anna, ben = [await beside(Screen, gateway, user, f"/approval/{id}") for user in ("anna", "ben")]
    for screen in (anna, ben):
        shown = await beside(screen.press, "Approve")
        assert "Your signature means: I approve this posting as it is shown." in texts(shown)
        assert "Choose a reason first." in texts(await beside(screen.press, "Sign"))
        screen.choose("Reason", "value", "Agreed with the shift lead")
        await beside(screen.press, "Sign")
    shown = await beside(anna.prove, "anna")
    assert f"posting {id} is approved by anna: it goes to the ERP" in texts(shown)
    assert shown["Approve"]["props"]["enabled"] is False
    shown = await beside(ben.prove, "ben")
    assert "anna" in shown["Said"]["props"]["text"]
    assert shown["Said"]["props"]["style"]["classes"] == "Gatepost/Said/Bad"
    assert "This posting is decided" in texts(shown)

    async def booked() -> Any:
        return (await plant.get(f"/v1/approvals/{id}"))["document"]

    document = await until(booked)
    trace = await beside(Screen, gateway, "ben", "/trace/two-2")
    assert document in str(await beside(trace.look))


async def test_a_posting_that_was_decided_elsewhere_is_looked_at_again(plant: Bench, gateway: Gateway):
    """Whoever has it open sees its new state with the next poll, without a request while nothing changed."""
    id = await held(plant, "else-3", quantity=26)
    await beside(poll, gateway)
    screen = await beside(Screen, gateway, "anna", f"/approval/{id}")
    assert (await beside(screen.look))["State"]["props"]["text"] == "waits for a person"
    posting = await plant.get(f"/v1/approvals/{id}")
    said = {"reason": "not ours", "expected_version": posting["version"], "record_hash": posting["record_hash"]}
    answer = await plant.ask("POST", f"/v1/approvals/{id}/refuse", json=said)
    assert answer.status_code == 200, answer.text
    await beside(poll, gateway)
    assert (await beside(screen.look))["State"]["props"]["text"] == "refused"


async def scrapped(plant: Bench, number: int, reason: str | None) -> str:
    """A confirmation with scrap, from the floor."""
    at = datetime.now(UTC)
    report = {
        "start": (at - timedelta(minutes=3)).isoformat(), "end": at.isoformat(),
        "id": f"scrap-{number}", "seq": number, "ts": at.isoformat(), "order": "1000100",
        "operation": "0010", "yield": 1, "scrap": 0.5, "unit": "kg", "final": False, "operator": "4711",
        "machine_minutes": 3, "labor_minutes": 2, "scrap_reason": reason,
    }  # fmt: skip
    content = json.dumps({name: value for name, value in report.items() if value is not None})
    path = "/v1/events/plant/1710/mixing/MIX-01/confirmation"
    answer = await plant.ask("POST", path, "scale", content=content.encode())
    assert answer.status_code == 202, answer.text
    return str(report["id"])


async def test_scrap_without_a_reason_gets_one_of_the_usual(plant: Bench, gateway: Gateway):
    """Three reasons that were usual on this line are suggested; one press and a signature correct the confirmation."""
    for number, reason in enumerate(("0002", "0001", "0002")):
        name = await scrapped(plant, number, reason)
        await until(partial(decided, plant, name))
    name = await scrapped(plant, 9, None)
    (posting,) = await until(partial(decided, plant, name))
    await beside(poll, gateway)
    queue = (await beside((await beside(Screen, gateway, "anna", "/scrap")).look))["Queue"]["props"]["data"]
    assert [(one["id"], one["reason"]) for one in queue] == [(posting["id"], "0.5 KG of scrap without a reason")]
    screen = await beside(Screen, gateway, "anna", f"/approval/{posting['id']}")
    offered = (await beside(screen.look))["Usual"]["props"]["instances"]
    assert [one["text"] for one in offered] == [
        "0002: set-up and first pieces, worn tool, machine trouble  (2 of 3 here)",
        "0001: process off its set-points, handling and transport  (1 of 3 here)",
    ]
    view = next(
        one for one in screen.page.views() if one.path.endswith("Cause") and one.tree["params"]["value"] == "0002"
    )
    await beside(screen.page.event, view.root.kids[0].id, "component", "onActionPerformed", {})
    await beside(screen.press, "Sign")
    shown = await beside(screen.prove, "anna")
    assert shown["Said"]["props"]["style"]["classes"] == "Gatepost/Said/Good", shown["Said"]["props"]["text"]
    old, new = await decided(plant, name)
    assert (old["state"], new["payload"]["scrap_reason"]) == ("superseded", "0002")


async def decided(plant: Bench, name: str) -> Any:
    """The postings of a report; nothing while there are none."""
    answer = await plant.ask("GET", f"/v1/trace/{name}")
    return answer.json().get("postings")


async def test_a_finding_leads_to_its_signature_in_one_press(plant: Bench, gateway: Gateway):
    """Its evidence and its proposal stand on a card; the button opens the posting that puts it right."""
    where = {"order": "1000100", "operation": "0010", "evidence": "a lot was made, and nothing was reported of it"}
    await found(plant, "9ac41e07d3b85512f04a", "missing report", "issue", "RM-PIGMENT", "-0.585", **where)
    listed = await until(partial(decided, plant, "finding:9ac41e07"))
    await beside(poll, gateway)
    screen = await beside(Screen, gateway, "anna", "/findings")
    shown = await beside(screen.look)
    assert (shown["Amount"]["props"]["text"], shown["Sense"]["props"]["text"]) == ("0.585 KG", "too little booked")
    assert "A lot was made, and nothing was reported of it" in texts(shown)
    assert "Nothing" not in shown
    await beside(screen.press, "Look")
    assert screen.page.path == f"/approval/{listed[0]['id']}"
    assert (await beside(screen.look))["Amount"]["props"]["text"] == "0.585 KG"


async def test_what_becomes_of_a_lot_is_chosen_by_a_signature(plant: Bench, gateway: Gateway):
    """From the list to the costs, to the choice: it is on record, its draft waits, and the lot is off the list."""
    await beside(poll, gateway)
    scrap = await beside(Screen, gateway, "anna", "/scrap")
    row = (await beside(scrap.look))["Lots"]["props"]["data"][0]
    assert (row["lot"], row["left"], row["usual"]) == ("L-2", "180 PC", "Rework, costs 124.20 EUR")
    screen = await beside(Screen, gateway, "anna", f"/lot/{row['id']}")
    shown = await beside(screen.look)
    assert (shown["Title"]["props"]["text"], shown["Amount"]["props"]["text"]) == ("Lot L-2", "180 PC")
    assert shown["Cost"]["props"]["text"] == "costs nothing"
    await beside(screen.press, "Rework")
    assert "Choose a reason first." in texts(await beside(screen.press, "Sign"))
    screen.choose("Reason", "value", "Can be mended")
    screen.choose("Value", "text", "180")
    await beside(screen.press, "Sign")
    shown = await beside(screen.prove, "anna")
    assert (
        shown["Said"]["props"]["text"]
        == "rework is chosen by anna for 180 PC of lot L-2: its draft waits for a signature"
    )
    assert shown["Rework"]["props"]["enabled"] is False
    await beside(poll, gateway)
    assert [one["lot"] for one in (await beside(scrap.look))["Lots"]["props"]["data"]] == ["L-1"]


async def test_the_queue_is_filtered_in_the_session(plant: Bench, gateway: Gateway):
    """One person's filter is nobody else's."""
    await held(plant, "filter-4", quantity=26)
    await beside(poll, gateway)
    mine, other = [await beside(Screen, gateway, user, "/") for user in ("anna", "ben")]
    await beside(mine.choose, "Search", "text", "no such words")
    assert (await beside(mine.look))["Queue"]["props"]["data"] == []
    assert (await beside(other.look))["Queue"]["props"]["data"] != []


async def test_fifty_sessions_cost_one_request_a_poll():
    """Five hundred held postings are in fifty sessions after one poll; a poll without news is one request, too."""
    page = (FOLDER.parent / "docs/ignition/contract.md").read_text()
    printed = dict(re.findall(r"^```json ([\w-]+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL))
    board = json.loads(printed["board"])
    board["approvals"] = [{**board["approvals"][0], "id": number} for number in range(1, 501)]
    asked: list[str] = []

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's own name
            asked.append(self.path)
            known = self.path == f"/v1/board?since={board['version']}"
            body = (printed["board-unchanged"] if known else json.dumps(board)).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Agent) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        secrets = {"gatepost-token": "t", "gatepost-signing": SECRET}
        one = Gateway(FOLDER / "Gatepost", [FOLDER / "tags/gatepost.json"], PEOPLE, secrets)
        one.tags.write(ADDRESS, f"http://127.0.0.1:{server.server_port}")
        screens = [Screen(one, "anna", "/") for _ in range(50)]
        await beside(poll, one)
        assert [len(screen.look()["Queue"]["props"]["data"]) for screen in screens] == [500] * 50
        await beside(poll, one)
        server.shutdown()
    assert asked == ["/v1/board?since=", f"/v1/board?since={board['version']}"]
