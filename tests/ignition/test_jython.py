"""The script library in real Jython 2.7 with Java's HTTP client, against a running agent, and with the network down."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.api_bench import Bench, bench, free_port
from tests.gateway_bench import RIGHTS, SECRET, held, refusals, tokens

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(shutil.which("jython") is None, reason="needs jython, Debian's package of that name"),
]
HOUSE = Path(__file__).resolve().parents[2]
LIBRARY = HOUSE / "ignition_project/Gatepost/ignition/script-python/gatepost"
ANNA = {"username": "anna", "firstname": "Änne", "lastname": "Groß"}
BEN = {"username": "ben", "firstname": "Ben", "lastname": "Alt"}
PATIENCE_S = 120.0  # a JVM on a busy machine


class Jython:
    """The library in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def __call__(self, *command: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        line = await asyncio.wait_for(self.process.stdout.readline(), PATIENCE_S)
        assert line, "Jython has ended; its error is above"
        return json.loads(line)["said"]

    async def board(self) -> dict[str, Any]:
        """The tags after a poll."""
        await self("poll")
        tags: dict[str, Any] = await self("tags")
        return tags


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory) -> AsyncIterator[Bench]:
    folder = tmp_path_factory.mktemp("jython")
    for name, value in (("gateway_signing", SECRET), ("other_signing", "b" * 40)):
        path = folder / "secrets" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(value)
        path.chmod(0o600)
    async with bench(folder, api={"tokens": tokens(), "rate_per_second": 2000}, rights=RIGHTS) as one:
        yield one


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def gateway(plant: Bench) -> AsyncIterator[Jython]:
    environment = {**os.environ, "GATEPOST_TOKEN": "gateway-secret", "GATEPOST_SIGNING": SECRET}
    process = await asyncio.create_subprocess_exec(
        "jython", str(Path(__file__).parent / "jython_gateway.py"), str(LIBRARY),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment, limit=2**22,
    )  # fmt: skip
    one = Jython(process)
    await one("set", "Settings/Address", plant.url)
    await one("set", "Settings/GatewayName", "line3")
    yield one
    assert process.stdin
    process.stdin.close()
    await process.wait()


def wanted(shown: dict[str, Any], decision: str = "approve", **changes: Any) -> dict[str, Any]:
    return {
        "id": shown["id"], "version": shown["version"], "shown_sha256": shown["shown_sha256"], "decision": decision,
        "reason": "Measured again, it is right", "comment": "geprüft\nSchicht 2", "field": "", "value": "", **changes,
    }  # fmt: skip


async def test_the_board_becomes_tags(plant: Bench, gateway: Jython):
    """What is held is in the tags after one poll, and a poll without news changes nothing."""
    id = await held(plant, "board-1", quantity=26)
    tags = await gateway.board()
    assert (tags["Online"], tags["Ready"]) == (True, True)
    (row,) = [one for one in tags["Approvals"] if one["id"] == id]
    assert (row["id"], row["quantity"], row["worth"], row["line"]) == (id, "26 KG", "83.20 EUR", "mixing")
    assert await gateway.board() == tags
    dressed = [one["risk"]["style"]["classes"] for one in await gateway("shown", "mixing") if one["id"] == id]
    assert dressed == ["Gatepost/Risk/Medium"]
    assert await gateway("shown", "molding") == []


async def test_a_signature_from_jython_is_taken(plant: Bench, gateway: Jython):
    """Opened, challenged, sealed and sent: approved by whoever passed the challenge, with every letter of the name."""
    id = await held(plant, "sign-2")
    shown = await gateway("open", id, ["Supervisor"])
    assert shown["can"] == {"approve": True, "refuse": True, "correct": True}
    asked = await gateway("begin", wanted(shown))
    assert (asked["forceAuth"], asked["payload"]["id"]) == (True, id)
    said = await gateway("complete", asked, ANNA, ["Supervisor"])
    assert said == {"ok": True, "id": id, "text": f"posting {id} is approved by anna: it goes to the ERP"}
    history = (await plant.get(f"/v1/trace/posting:{id}"))["history"]
    (kept,) = [one["detail"] for one in history if one["action"] == "approved"]
    assert (kept["full_name"], kept["gateway"], kept["session_user"]) == ("Änne Groß", "line3", "line3-panel")
    assert (await gateway("open", id, ["Supervisor"]))["held"] is False


async def test_who_comes_second_is_told_by_whom_it_was_decided(plant: Bench, gateway: Jython):
    """Two sessions have opened the challenge: the second signature is refused in words, and on record."""
    id = await held(plant, "second-3")
    shown = await gateway("open", id, ["Supervisor"])
    first, second = [await gateway("begin", wanted(shown)) for _ in range(2)]
    assert (await gateway("complete", first, ANNA, ["Supervisor"]))["ok"]
    said = await gateway("complete", second, BEN, ["Supervisor"])
    assert not said["ok"]
    assert "anna" in said["text"]
    assert await refusals(plant, id) == ["conflict"]


async def test_a_correction_from_jython_takes_its_place(plant: Bench, gateway: Jython):
    """A quantity typed with a comma becomes a posting of its own that supersedes the old one."""
    id = await held(plant, "correct-4", quantity=26)
    shown = await gateway("open", id, ["Supervisor"])
    asked = await gateway("begin", wanted(shown, "correct", field="quantity", value="12,6"))
    said = await gateway("complete", asked, ANNA, ["Supervisor"])
    assert said["ok"], said
    old = await plant.get(f"/v1/approvals/{id}")
    assert old["state"] == "superseded"


async def test_who_has_no_right_is_told(plant: Bench, gateway: Jython):
    """The roles that the identity provider gave decide, whoever's session it is."""
    id = await held(plant, "right-5")
    shown = await gateway("open", id, ["Supervisor"])
    said = await gateway("complete", await gateway("begin", wanted(shown, "refuse")), BEN, ["Cleaner"])
    assert not said["ok"]
    assert await refusals(plant, id) == ["no_right"]
    said = await gateway("complete", await gateway("begin", wanted(shown, "refuse")), None, [])
    assert said["text"] == "You have cancelled. Nothing was signed."
    assert (await plant.get(f"/v1/approvals/{id}"))["state"] == "held"


async def test_who_cannot_be_named_signs_nothing(plant: Bench, gateway: Jython):
    """A signer without a name, and a gateway that may not read its secrets: told, logged, and nothing is signed."""
    id = await held(plant, "nobody-7")
    shown = await gateway("open", id, ["Supervisor"])
    asked = await gateway("begin", wanted(shown))
    said = await gateway("complete", asked, {"firstname": "Änne"}, ["Supervisor"])
    assert said["text"].startswith("The gateway cannot read who you are.")
    await gateway("locked", True)
    said = await gateway("complete", asked, ANNA, ["Supervisor"])
    assert said["text"].startswith("The gateway cannot read its secret.")
    away = await gateway("tags")
    assert (away["Online"], away["Away"][:43]) == (False, "the secret gatepost-token cannot be read: j"), away["Away"]
    await gateway("locked", False)
    assert (await plant.get(f"/v1/approvals/{id}"))["state"] == "held"
    assert (await gateway("complete", asked, ANNA, ["Supervisor"]))["ok"], "the nonce was not used up"
    assert (await gateway.board())["Online"] is True


async def test_the_trace_is_shown(plant: Bench, gateway: Jython):
    """A report's name leads to its steps; a name that nothing has is told."""
    await held(plant, "trace-8")
    found = await gateway("trace", "trace-8")
    assert "decided" in {one["what"] for one in found["history"]}
    assert found["postings"][0]["order"] == "1000100"
    assert (await gateway("trace", "nothing-has-this-name"))["known"] is False


async def test_an_answer_that_is_not_understood_is_no_board(plant: Bench, gateway: Jython):
    """Whatever answers at the address, the tags keep what was shown and say that the agent is away, and why."""
    before = await gateway.board()
    answers = {
        b"{}": "its answer is not understood: ",
        b"<html>": "what answers with 200 at this address is not the agent",
        b'{"unchanged": false, "now": "2026-11-20T14:00:09+00:00"}': "its answer is not understood: ",
    }
    for body, why in answers.items():
        with answering(body) as address:
            await gateway("set", "Settings/Address", address)
            away = await gateway.board()
        assert away["Online"] is False
        assert away["Away"].startswith(why)
        assert away["Approvals"] == before["Approvals"]
    await gateway("set", "Settings/Address", plant.url)
    assert (await gateway.board())["Online"] is True


@contextlib.contextmanager
def answering(body: bytes) -> Iterator[str]:
    """Something that answers 200 with this to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # http.server's own name
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


async def test_with_the_network_down_all_is_kept_and_told(plant: Bench, gateway: Jython):
    """A Java exception ends no script: tags keep what was shown, say since when, and nothing can be signed."""
    id = await held(plant, "down-6")
    before = await gateway.board()
    shown = await gateway("open", id, ["Supervisor"])
    asked = await gateway("begin", wanted(shown))
    await gateway("set", "Settings/Address", f"http://127.0.0.1:{free_port()}")
    away = await gateway.board()
    assert (away["Online"], away["Approvals"]) == (False, before["Approvals"])
    assert away["AwaySince"] > 0
    assert away["Away"].startswith("no answer: ")
    assert (await gateway.board())["AwaySince"] == away["AwaySince"]
    assert (await gateway("open", id, []))["said"].startswith("The agent does not answer")
    assert (await gateway("begin", wanted(shown))).startswith("The agent does not answer")
    assert not (await gateway("complete", asked, ANNA, ["Supervisor"]))["ok"]
    assert (await plant.get(f"/v1/approvals/{id}"))["state"] == "held"
    await gateway("set", "Settings/Address", plant.url)
    assert (await gateway.board())["Online"] is True
    assert len([one for one in await gateway("logged") if "is away: no answer" in one]) == 1
