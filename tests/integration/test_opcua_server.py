"""The agent as an OPC UA server, asked by a real OPC UA client over real sockets; the ERP is the simulated SAP."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from asyncua import ua
from asyncua.client.client import Client
from asyncua.common.node import Node
from asyncua.crypto.security_policies import (
    SecurityPolicyAes128Sha256RsaOaep,
    SecurityPolicyAes256Sha256RsaPss,
    SecurityPolicyBasic256Sha256,
)
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.status_codes import StatusCodes as Codes
from asyncua.ua.ua_binary import uatcp_to_binary
from asyncua.ua.uaerrors import UaError, UaStatusCodeError

from agent import assembly, config
from agent.app import Agent
from agent.cli import leaves
from agent.commands.run import server
from agent.errors import ConfigError
from agent.opcua import figures
from agent.opcua.nodes import NAMESPACE
from agent.sources.opcua_security import Certificates
from agent.throttle import MOST_REFUSED, WAITING
from tests.api_bench import HOUSE, Bench, bench, free_port, until, write

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECURED = {
    "basic256sha256": SecurityPolicyBasic256Sha256,
    "aes128": SecurityPolicyAes128Sha256RsaOaep,
    "aes256": SecurityPolicyAes256Sha256RsaPss,
}


class Asking:
    """One client's session: reads by the path below Gatepost, calls by name."""

    def __init__(self, client: Client, index: int) -> None:
        self.client, self.index = client, index

    def node(self, path: str) -> Node:
        return self.client.get_node(ua.NodeId(ua.String(path), ua.Int16(self.index)))

    async def read(self, path: str) -> Any:
        return await self.node(path).read_value()

    async def status(self, path: str) -> int:
        found = await self.node(path).read_data_value(raise_on_bad_status=False)
        return int(found.StatusCode.value if found.StatusCode else 0)

    async def becomes(self, path: str, wanted: Any) -> None:
        """Wait for a value, or for one that `wanted` agrees with."""

        async def there() -> bool:
            found = await self.read(path)
            return bool(wanted(found) if callable(wanted) else found == wanted)

        await until(there)

    async def level(self) -> int:
        """The service level of the server."""
        return int(await self.client.get_node(ua.NodeId(ua.Int32(ObjectIds.Server_ServiceLevel))).read_value())

    async def has_level(self, level: int) -> bool:
        return await self.level() == level

    async def call(self, method: str, *given: Any) -> Any:
        return await self.node("Gatepost").call_method(f"{self.index}:{method}", *given)

    async def held(self) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = json.loads(await self.call("ListHeld", 100))["items"]
        return items

    async def decide(self, method: str, one: dict[str, Any], *given: Any) -> tuple[bool, dict[str, Any]]:
        done, answer = await self.call(method, one["id"], one["version"], *given)
        return done, json.loads(answer)


@contextlib.asynccontextmanager
async def asking(plant: Bench, user: str = "", password: str = "", **secured: Any) -> AsyncIterator[Asking]:
    """A client that is connected as this user, with the bench's token where no other password is given."""
    settings = plant.agent.config.opcua_server
    assert settings is not None
    client = Client(f"opc.tcp://{settings.address}", timeout=30)
    if user:
        client.set_user(user)
        client.set_password(password or f"{user}-secret")
    if secured:
        client.application_uri = secured.pop("uri")
        await client.set_security(**secured)
    async with client:
        yield Asking(client, await client.get_namespace_index(NAMESPACE))


async def refused(awaitable: Any) -> int:
    """The status code that this ends with."""
    with pytest.raises(UaStatusCodeError) as raised:
        await awaitable
    return int(raised.value.code)


async def entered(plant: Bench, user: str = "", password: str = "", **secured: Any) -> None:
    async with asking(plant, user, password, **secured):
        pass


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """An agent that holds everything for a person, open on this machine; who has no user may read."""
    opcua = {"address": f"127.0.0.1:{free_port()}", "security": ["none", *SECURED], "anonymous": True}
    async with bench(tmp_path_factory.mktemp("opcua"), opcua_server=opcua, sensitive=["batch"]) as made:
        await until(lambda: listens(made))
        yield made


async def listens(plant: Bench) -> bool:
    """Whether the OPC UA side is up: it is built while the agent works already."""
    settings = plant.agent.config.opcua_server
    assert settings is not None
    host, _, port = settings.address.rpartition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    await writer.wait_closed()
    return True


async def fresh(plant: Bench, id: str, **changes: Any) -> dict[str, Any]:
    """A held posting of a new report."""
    assert (await plant.report(id, **changes)).status_code == 202

    async def there() -> Any:
        items = (await plant.get("/v1/approvals?limit=500"))["items"]
        return next((one for one in items if one["payload"]["text"] == id), None)

    found: dict[str, Any] = await until(there)
    return found


async def audited(plant: Bench, action: str) -> list[dict[str, Any]]:
    rows = (await plant.get("/v1/audit?limit=500"))["items"]
    return [one for one in rows if one["action"] == action]


# ── values ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_state_is_there_and_goes_on(plant: Bench):
    """A client without a user finds the agent by its namespace URI, sees what it is made of, and a heart that beats."""
    async with asking(plant) as one:
        await one.becomes("Ready", True)
        assert await one.read("WhyNotReady") == ""
        first = await one.read("Heartbeat")
        await one.becomes("Heartbeat", lambda now: now > first)
        assert await one.read("Sources/reports/Connected") is True
        await one.becomes("Targets/s4/Available", True)
        names = {(await node.read_browse_name()).Name for node in await one.node("Lines").get_children()}
        assert {"mixing", "molding", "assembly"} <= names, "lines are there before anything was decided"
        assert await one.status("Lines/assembly/LastDecision/At") != Codes.Good, "nothing is made up"


async def test_values_change_with_what_happens(plant: Bench):
    """A report that is held is counted, shown as its line's last decision, and told to a subscriber."""
    async with asking(plant) as one:
        before = await one.read("Workflows/consumption/Held")
        told: asyncio.Queue[Any] = asyncio.Queue()

        class Heard:
            def datachange_notification(self, node: Node, value: Any, data: Any) -> None:
                told.put_nowait(value)

        subscription = await one.client.create_subscription(100, Heard())
        await subscription.subscribe_data_change(one.node("Workflows/consumption/Held"))
        held = await fresh(plant, "seen-1")
        async with asyncio.timeout(30):
            while await told.get() != before + 1:
                pass
        await one.becomes("Lines/mixing/LastDecision/Posting", held["id"])
        assert await one.read("Lines/mixing/LastDecision/State") == "held"
        assert "seen-1" in await one.read("Lines/mixing/LastDecision/Event")
        assert await one.read("Lines/mixing/LastDecision/Reason")
        assert (datetime.now(UTC) - (await one.read("Sources/reports/LastDeliveryAt")).replace(tzinfo=UTC)).days == 0
        await one.becomes("Held", (await plant.get("/v1/status"))["postings"]["held"])


def break_look(fault: pytest.MonkeyPatch, plant: Bench) -> None:
    """A mistake in reading the state of this agent."""

    whole = figures.parts_of

    def broken(agent: Agent, lines: Any) -> Any:
        if agent is plant.agent:
            raise RuntimeError("broken")
        return whole(agent, lines)

    fault.setattr("agent.opcua.figures.parts_of", broken)


async def test_a_display_that_fails_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    """Whatever goes wrong in showing is shown, to clients by the service level and in the status; reports go on."""
    async with bench(tmp_path, opcua_server=open_to_this_machine(anonymous=True)) as plant:
        await until(lambda: listens(plant))
        async with asking(plant) as one:
            await one.becomes("Ready", True)
            assert await one.level() == 255
            with monkeypatch.context() as fault:
                break_look(fault, plant)
                await one.becomes("Ready", False)
                assert "broken" in await one.read("WhyNotReady")
                await until(lambda: one.has_level(1))
                assert await one.status("Held") == Codes.UncertainLastUsableValue
                face = (await plant.get("/v1/status"))["faces"]["opcua_server"]
                assert "broken" in face["error"]
                beat = await one.read("Heartbeat")
                await one.becomes("Heartbeat", lambda now: now > beat + 1)
                assert caplog.text.count("the state cannot be read") == 1
                await fresh(plant, "shown-1")
            await one.becomes("Ready", True)
            await until(lambda: one.has_level(255))
            assert (await plant.get("/v1/status"))["faces"]["opcua_server"]["error"] is None


async def test_a_display_that_ends_begins_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server that cannot even show that something is wrong is made anew; the agent goes on and says why."""
    monkeypatch.setattr("agent.opcua.server.AGAIN_S", 0.1)
    async with bench(tmp_path, opcua_server=open_to_this_machine(anonymous=True)) as plant:
        await until(lambda: listens(plant))

        async def face() -> Any:
            return (await plant.get("/v1/status"))["faces"]["opcua_server"]

        async def down() -> bool:
            told = await face()
            return not told["connected"] and "ZeroDivisionError" in (told["error"] or "")

        with monkeypatch.context() as fault:
            break_look(fault, plant)
            fault.setattr("agent.opcua.server.Shown._doubt", lambda *_: 1 / 0)
            await until(down)
            await fresh(plant, "shown-2")
        await until(lambda: listens(plant))
        async with asking(plant) as one:
            await one.becomes("Ready", True)
            page = (await plant.client.get(plant.management + "/metrics")).text
            assert 'gatepost_face_connected{face="opcua_server"} 1.0' in page
            told = await face()
            assert (told["connected"], told["error"], told["sessions"]) == (True, None, 1)


# ── deciding ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_approved_posting_reaches_the_erp(plant: Bench):
    """Approving by a method books the document, and the trail names the user and the reason."""
    held = await fresh(plant, "approve-2")
    async with asking(plant, "anna") as one:
        shown = next(each for each in await one.held() if each["id"] == held["id"])
        done, answer = await one.decide("Approve", shown, "weighed again")
        assert (done, answer["state"], answer["by"]) == (True, "ready", "anna")

        async def booked() -> Any:
            return (await plant.get(f"/v1/approvals/{shown['id']}"))["document"]

        assert await until(booked)
    history = (await plant.get(f"/v1/trace/posting:{shown['id']}"))["history"]
    signed = next(row for row in history if row["action"] == "approved")
    assert (signed["actor"], signed["detail"]["reason"], signed["detail"]["session"]) == (
        "anna", "weighed again", "token anna",
    )  # fmt: skip


async def test_who_comes_second_is_told_who_was_first(plant: Bench):
    """The loser of a race changes nothing and hears who decided, also when the first one came by HTTP."""
    held = await fresh(plant, "race-3")
    async with asking(plant, "anna") as anna, asking(plant, "ben") as ben:
        answers = await asyncio.gather(
            anna.decide("Approve", held, "mine"), ben.decide("Refuse", held, "no, mine"), return_exceptions=False
        )
        lost = next(answer for done, answer in answers if not done)
        won = next(answer for done, answer in answers if done)
        assert (lost["error"], lost["decided_by"]) == ("conflict", won["by"])

        other = await fresh(plant, "race-4")
        asked = {"expected_version": other["version"], "reason": "by HTTP"}
        assert (await plant.ask("POST", f"/v1/approvals/{other['id']}/refuse", json=asked)).status_code == 200
        done, answer = await ben.decide("Approve", other, "too late")
        assert (done, answer["decided_by"], answer["state"]) == (False, "anna", "refused")


async def test_a_version_that_is_not_the_shown_one_changes_nothing(plant: Bench):
    """Whoever signs something else than what is there now is told which version it has."""
    held = await fresh(plant, "stale-5")
    async with asking(plant, "anna") as one:
        done, answer = await one.decide("Approve", {**held, "version": held["version"] + 1}, "blind")
        assert (done, answer["error"], answer["version"], answer["state"]) == (
            False, "conflict", held["version"], "held",
        )  # fmt: skip


async def test_who_hears_no_answer_is_told_what_to_do_in_their_own_words(plant: Bench, monkeypatch: pytest.MonkeyPatch):
    """A commit that does not come back in time: each face says how to ask again, and asking again decides once."""
    held = await fresh(plant, "late-5")
    async with asking(plant, "anna") as one:
        with monkeypatch.context() as fault:
            fault.setattr("agent.approving.ACT_S", 0.0)
            done, answer = await one.decide("Approve", held, "in a hurry")
            asked = {"expected_version": held["version"], "reason": "in a hurry"}
            by_http = (await plant.ask("POST", f"/v1/approvals/{held['id']}/approve", json=asked)).json()
        assert (done, answer["error"]) == (False, "store_unavailable")
        assert answer["message"].endswith("; call again with the same ExpectedVersion: it is decided once at most")
        assert by_http["message"].endswith("; send the same request with the same Idempotency-Key again")
        done, answer = await one.decide("Approve", held, "in a hurry")
        assert (done, answer["error"], answer["decided_by"]) == (False, "conflict", "anna")


async def test_a_gateway_signs_for_a_person(plant: Bench):
    """A token with acts_for_people names the person in the trail; another token may not, and that is audited."""
    held = await fresh(plant, "person-6")
    async with asking(plant, "ben") as ben:
        assert await refused(ben.decide("Approve", held, "ok", "Maria Huber")) == Codes.BadUserAccessDenied
    async with asking(plant, "ignition") as gateway:
        done, answer = await gateway.decide("Approve", held, "ok", "Maria Huber")
        assert (done, answer["by"]) == (True, "Maria Huber via ignition")
    assert [row["detail"]["method"] for row in await audited(plant, "call_refused") if row["actor"] == "ben"] == [
        "Approve"
    ]


async def test_a_wrong_scope_is_refused_and_audited(plant: Bench):
    """Who may only read cannot decide: nothing changes, and the trail says who tried, once however often it was."""
    held = await fresh(plant, "scope-7")
    async with asking(plant, "viewer") as one:
        assert [each["id"] for each in await one.held()], "reading is allowed"
        for _ in range(3):
            assert await refused(one.decide("Approve", held, "let me")) == Codes.BadUserAccessDenied
    assert (await plant.get(f"/v1/approvals/{held['id']}"))["state"] == "held"
    assert [row["detail"]["method"] for row in await audited(plant, "call_refused") if row["actor"] == "viewer"] == [
        "Approve"
    ]


async def test_roles_count_at_this_door_too(plant: Bench):
    """A token whose roles have no right may list, does not see what is sensitive, and decides nothing."""
    held = await fresh(plant, "roles-8")
    async with asking(plant, "nobody") as one:
        assert {each["payload"]["batch"] for each in await one.held()} == {"***"}
        assert await refused(one.decide("Approve", held, "let me")) == Codes.BadUserAccessDenied
    async with asking(plant, "ben") as other:
        assert held["payload"]["batch"] in [each["payload"]["batch"] for each in await other.held()]
    (row,) = [row for row in await audited(plant, "signature_refused") if row["actor"] == "nobody"]
    assert row["detail"]["error"] == "no_right"


async def test_a_token_of_one_line_sees_that_line_only(plant: Bench):
    """Postings of other lines do not exist for a token that is limited to lines."""
    held = await fresh(plant, "line-8")
    async with asking(plant, "moulder") as one:
        assert held["id"] not in [each["id"] for each in await one.held()]
        done, answer = await one.decide("Approve", held, "not mine")
        assert (done, answer["error"]) == (False, "not_found")


async def test_arguments_that_do_not_fit_are_refused(plant: Bench):
    """Each wrong argument gets a status code of its own, and a reason that cannot be read is an answer."""
    async with asking(plant, "anna") as one:
        assert await refused(one.call("ListHeld", 0)) == Codes.BadInvalidArgument
        assert await refused(one.call("ListHeld", "all")) == Codes.BadInvalidArgument
        assert await refused(one.call("Approve", 1, 1)) == Codes.BadArgumentsMissing
        assert await refused(one.call("Approve", 1, 1, "r", "p", "x")) == Codes.BadTooManyArguments
        assert await refused(one.call("Approve", True, 1, "r")) == Codes.BadInvalidArgument
        for reason in ("", "two\nlines", "x" * 1001):
            done, answer = await one.decide("Approve", {"id": 1, "version": 1}, reason)
            assert (done, answer["error"]) == (False, "bad_request")
        done, answer = await one.decide("Approve", {"id": 2**62, "version": 1}, "there is none")
        assert (done, answer["error"]) == (False, "not_found")


# ── who comes in ────────────────────────────────────────────────────────────────────────────────────────────


async def test_without_a_user_nothing_can_be_called_or_changed(plant: Bench):
    """Anybody may read where that is configured, and can neither call, write nor add anything."""
    async with asking(plant) as one:
        assert await refused(one.call("ListHeld", 1)) == Codes.BadUserAccessDenied
        assert await refused(one.node("Ready").write_value(False)) == Codes.BadUserAccessDenied
        assert await refused(one.node("Gatepost").add_object(one.index, "mine")) == Codes.BadUserAccessDenied
    async with asking(plant, "anna") as one:
        assert await refused(one.node("Ready").write_value(False)) == Codes.BadUserAccessDenied


async def test_nobody_comes_in_with_another_password(plant: Bench):
    """A wrong token, another's token and an unknown user are refused; a token that may not read sees nothing."""
    for user, password in (("anna", "guess"), ("anna", "ben-secret"), ("nobody", "anna-secret"), ("admin", "admin")):
        assert await refused(entered(plant, user, password)) == Codes.BadUserAccessDenied
    assert await refused(entered(plant, "scale")) == Codes.BadUserAccessDenied


async def test_a_client_that_sends_garbage_harms_nobody(plant: Bench):
    """Bytes that are no message end that connection, a chunk without end before it fills the memory; others go on."""
    host, port = str(plant.agent.config.opcua_server.address).split(":")  # type: ignore[union-attr]

    def answered(said: bytes) -> bytes:
        with socket.create_connection((host, int(port)), timeout=30) as one:
            one.sendall(said)
            return one.recv(1)

    assert await asyncio.to_thread(answered, b"GET / HTTP/1.1\r\n\r\n") == b""
    with pytest.raises(ConnectionError):  # what the sockets themselves hold is less
        await asyncio.to_thread(answered, b"MSGF" + (2**31).to_bytes(4, "little") + bytes(24 << 20))
    async with asking(plant) as one:
        assert await one.read("Version")


async def test_an_unknown_certificate_waits_for_a_person(plant: Bench, tmp_path: Path):
    """An encrypted channel opens for a client whose certificate somebody moved to the trusted ones, and not before."""
    mine = Certificates(tmp_path / "client")
    own = mine.own(datetime.now(UTC))
    theirs = Certificates(plant.agent.config.store.path.parent / "opcua_server")
    secured: dict[str, Any] = {
        "certificate": own.certificate, "private_key": own.key, "uri": own.uri,
        "server_certificate": theirs.folder / "own" / "gatepost.der", "mode": ua.MessageSecurityMode.SignAndEncrypt,
    }  # fmt: skip
    for policy in SECURED.values():
        code = await refused(entered(plant, "anna", **{**secured, "policy": policy}))
        assert code == Codes.BadCertificateUntrusted
    (waiting,) = theirs.rejected.iterdir()
    waiting.rename(theirs.trusted / waiting.name)
    for policy in SECURED.values():
        async with asking(plant, "anna", **{**secured, "policy": policy}) as one:
            assert await one.read("Version")
            assert isinstance(await one.held(), list)


@contextlib.asynccontextmanager
async def turned_away(plant: Bench, password: str = "guess") -> AsyncIterator[Client]:
    """A client that was refused and keeps its connection."""
    settings = plant.agent.config.opcua_server
    assert settings is not None
    client = Client(f"opc.tcp://{settings.address}", timeout=30)
    client.set_user("anna")
    client.set_password(password)
    await client.connect_socket()
    try:
        await client.send_hello()
        await client.open_secure_channel()
        await client.create_session()
        assert await refused(client.activate_session(username="anna", password=password)) == Codes.BadUserAccessDenied
        yield client
    finally:
        client.disconnect_socket()


def open_to_this_machine(**more: Any) -> dict[str, Any]:
    return {"address": f"127.0.0.1:{free_port()}", "security": ["none"], **more}


async def test_clients_that_were_refused_take_no_place(tmp_path: Path):
    """Wrong passwords whose connections stay open lock nobody out; that there is room for two only is kept."""
    async with bench(tmp_path, opcua_server=open_to_this_machine(max_sessions=2)) as plant:
        await until(lambda: listens(plant))
        async with contextlib.AsyncExitStack() as clients:
            stuck = [await clients.enter_async_context(turned_away(plant)) for _ in range(4)]
            for user in ("anna", "ben"):
                one = await clients.enter_async_context(asking(plant, user))
                assert await one.read("Version")
            assert await refused(entered(plant, "viewer")) == Codes.BadTooManySessions
            again = stuck[0].activate_session(username="anna", password="anna-secret")
            assert await refused(again) == Codes.BadSessionIdInvalid, "its session is over"


async def test_an_address_that_is_refused_without_end_is_not_listened_to(tmp_path: Path):
    """After so many refusals nobody else comes in from there for a while; who is in stays in."""
    async with bench(tmp_path, opcua_server=open_to_this_machine()) as plant:
        await until(lambda: listens(plant))
        async with asking(plant, "anna") as one:
            for _ in range(MOST_REFUSED):
                async with turned_away(plant):
                    pass
            assert not await answers(plant)
            assert await one.read("Version")


async def test_who_is_in_cannot_guess_without_end(tmp_path: Path):
    """In a session that was entered, too, so many wrong passwords are looked at and no more; it stays as it was."""
    async with bench(tmp_path, opcua_server=open_to_this_machine()) as plant:
        await until(lambda: listens(plant))
        async with asking(plant, "anna") as one:
            for _ in range(MOST_REFUSED):
                wrong = one.client.activate_session(username="ben", password="guess")
                assert await refused(wrong) == Codes.BadUserAccessDenied
            right = one.client.activate_session(username="ben", password="ben-secret")
            assert await refused(right) == Codes.BadUserAccessDenied
            assert await one.read("Version")


async def test_connections_that_ask_for_nothing_lock_nobody_out(tmp_path: Path):
    """Of one address only so many may wait; who is in stays in, and when they are gone others come in."""
    async with bench(tmp_path, opcua_server=open_to_this_machine(max_sessions=1)) as plant:
        await until(lambda: listens(plant))
        async with asking(plant, "anna") as one:
            silent = [await connected(plant) for _ in range(WAITING)]
            assert not await answers(plant)
            assert await one.read("Version")
            for _, writer in silent:
                writer.close()
            await until(lambda: answers(plant))


async def connected(plant: Bench) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, _, port = str(plant.agent.config.opcua_server.address).rpartition(":")  # type: ignore[union-attr]
    return await asyncio.open_connection(host, int(port))


async def answers(plant: Bench) -> bool:
    """Whether a client that says Hello hears anything."""
    reader, writer = await connected(plant)
    hello = ua.Hello(EndpointUrl=ua.String("opc.tcp://127.0.0.1"))
    try:
        writer.write(uatcp_to_binary(ua.MessageType.Hello, hello))  # type: ignore[arg-type]  # its constants are bytes
        return bool(await reader.read(1))
    except ConnectionError:
        return False
    finally:
        writer.close()


# ── starting ────────────────────────────────────────────────────────────────────────────────────────────────


async def test_encrypted_is_the_only_way_where_nothing_else_is_configured(tmp_path: Path):
    """By default endpoints can be looked up in the open, and no session is entered there, with or without a user."""
    async with bench(tmp_path, opcua_server={"address": f"127.0.0.1:{free_port()}"}) as plant:
        await until(lambda: listens(plant))
        settings = plant.agent.config.opcua_server
        assert settings is not None
        found = await Client(f"opc.tcp://{settings.address}").connect_and_get_server_endpoints()
        assert {one.SecurityMode for one in found} == {ua.MessageSecurityMode.SignAndEncrypt}
        assert {token.TokenType for one in found for token in one.UserIdentityTokens} == {ua.UserTokenType.UserName}
        client = Client(f"opc.tcp://{settings.address}")
        await client.connect_socket()
        try:
            await client.send_hello()
            await client.open_secure_channel()
            with pytest.raises(UaError, match="No matching endpoints"):
                await client.create_session()  # it is not offered; here we try all the same
            token = ua.UserNameIdentityToken(PolicyId="username", UserName="anna", Password=b"anna-secret")
            entering = client.uaclient.activate_session(ua.ActivateSessionParameters(UserIdentityToken=token))
            assert await refused(entering) == Codes.BadSecurityPolicyRejected
        finally:
            client.disconnect_socket()


async def test_an_address_that_is_taken_is_one_sentence(tmp_path: Path):
    """An agent that cannot listen ends with the line of the file and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        path = write(tmp_path, "http://127.0.0.1:9", opcua_server={"address": address})
        loaded = config.load(path, assembly.resolver(), {})
        with pytest.raises(BaseExceptionGroup) as raised:
            await Agent(loaded).run(server(loaded))
        (found,) = leaves(raised.value)
        assert isinstance(found, ConfigError)
        assert "opcua_server.address: cannot be listened on: Address already in use; stop" in str(found)


async def test_open_is_for_this_machine_only(tmp_path: Path):
    """Security none on an address that others reach is refused before anything starts."""
    path = write(tmp_path, "http://127.0.0.1:9", opcua_server={"address": "0.0.0.0:48010", "security": ["none"]})
    with pytest.raises(ConfigError, match="none sends tokens readably"):
        config.load(path, assembly.resolver(), {})


async def test_it_is_not_imported_where_it_is_not_configured(tmp_path: Path):
    """An agent without the section never loads asyncua."""
    path = write(tmp_path, "http://127.0.0.1:9")
    script = f"""
        import sys
        from pathlib import Path
        from agent import assembly, config
        from agent.app import Agent
        from agent.commands.run import server
        loaded = config.load(Path({str(path)!r}), assembly.resolver(), {{}})
        Agent(loaded), server(loaded)
        print(sorted(name for name in sys.modules if name.startswith(("asyncua", "agent.opcua"))))
    """
    told = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", textwrap.dedent(script)],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (told.stdout.strip(), told.stderr) == ("[]", "")
