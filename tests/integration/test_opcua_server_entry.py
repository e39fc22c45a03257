"""Who comes in at the agent's OPC UA server, who does not, and whether it starts."""

from __future__ import annotations

import asyncio
import contextlib
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
from asyncua.ua.status_codes import StatusCodes as Codes
from asyncua.ua.ua_binary import uatcp_to_binary
from asyncua.ua.uaerrors import UaError

from agent import assembly
from agent.access.throttle import MOST_REFUSED, WAITING
from agent.app import Agent
from agent.cli import leaves
from agent.commands.run import server
from agent.configuration import config
from agent.errors import ConfigError
from agent.sources.opcua_security import Certificates
from tests.api_bench import HOUSE, Bench, bench, free_port, until, write
from tests.opcua_face_bench import SECURED, asking, entered, listens, open_to_this_machine, refused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def plant(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    """An agent that holds everything for a person, open on this machine; who has no user may read."""
    opcua = {"address": f"127.0.0.1:{free_port()}", "security": ["none", *SECURED], "anonymous": True}
    async with bench(tmp_path_factory.mktemp("opcua"), opcua_server=opcua, sensitive=["batch"]) as made:
        await until(lambda: listens(made))
        yield made


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
        from agent import assembly
        from agent.configuration import config
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
