"""The OPC UA source and the security of real servers: nobody is trusted unseen, and nothing is told to strangers."""

from __future__ import annotations

import asyncio
import logging
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto.cert_gen import generate_private_key

from agent.access.secrets import SecretPlaces
from agent.sources.opcua import OpcuaConfig, OpcuaSource
from agent.sources.opcua_security import Certificates, days_left, leaf
from tests.mqtt_bench import Shelf, until
from tests.opcua_bench import QUICK, Users, config, free_port, numbers, put, running, serving, ua

SECURED = {"policy": "basic256sha256", "mode": "sign_and_encrypt"}
PERSON: dict[str, Any] = {"user": "operator", "password": {"secret": "plc"}}


def secured(port: int, folder: Path, known_as: str = "s3cret", **options: Any) -> OpcuaSource:
    """A source with its own certificates under `folder`."""
    given = config(port).model_dump(exclude_unset=True) | SECURED | options
    secrets = SecretPlaces.of({"GATEPOST_SECRET_PLC": known_as})
    return OpcuaSource(OpcuaConfig.model_validate(given, context={"secrets": secrets}), folder=folder, pace=QUICK)


def trust(folder: Path) -> None:
    """What the message says: move what was rejected."""
    (file,) = (folder / "rejected").iterdir()
    file.rename(folder / "trusted" / file.name)


async def test_an_unknown_server_is_refused_until_somebody_trusts_it(tmp_path: Path):
    """The error names the file and where to move it; after that data flow, without a restart."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    opcua = secured(port, own)
    async with serving(port, secured=tmp_path / "server") as plc, running(opcua, shelf, connected=False):
        await until(lambda: shelf.notices("server_untrusted"))
        (file,) = (own / "rejected").iterdir()
        assert f"move {file} to {own / 'trusted' / file.name}" in opcua.status()["error"]
        assert not opcua.status()["connected"]
        trust(own)
        await until(lambda: opcua.status()["connected"])
        await put(plc["good"], 3)
        await until(lambda: sum(numbers(shelf)) == 3)
        assert set(opcua.status()["certificates_expire"]) == {"our", "the server's"}


async def test_while_our_key_is_made_everything_else_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A key that takes its time, as on a small box: the event loop works meanwhile."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    Certificates(tmp_path / "server").own(datetime.now(UTC))
    worked, went_on, loop = threading.Event(), [], asyncio.get_running_loop()

    def slowly() -> Any:
        loop.call_soon_threadsafe(worked.set)
        went_on.append(worked.wait(10))
        return generate_private_key()

    monkeypatch.setattr("agent.sources.opcua_security.generate_private_key", slowly)
    async with (
        serving(port, secured=tmp_path / "server"),
        running(secured(port, own), shelf, connected=False),
    ):
        await until(lambda: shelf.notices("server_untrusted"))
    assert went_on == [True]


@pytest.mark.parametrize("mode", ["sign", "sign_and_encrypt"])
@pytest.mark.parametrize(
    ("policy", "name"),
    [
        ("basic256sha256", "Basic256Sha256"),
        ("aes128_sha256_rsaoaep", "Aes128Sha256RsaOaep"),
        ("aes256_sha256_rsapss", "Aes256Sha256RsaPss"),
    ],
)
async def test_every_policy_and_mode_works_with_a_user(tmp_path: Path, policy: str, name: str, mode: str):
    """Signed and encrypted, with a name and a password that is encrypted in either."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    policies = (f"{name}_Sign", f"{name}_SignAndEncrypt")
    async with serving(port, secured=tmp_path / "server", users=True, policies=policies) as plc:
        opcua = secured(port, own, policy=policy, mode=mode, **PERSON)
        async with running(opcua, shelf, connected=False):
            await until(lambda: shelf.notices("server_untrusted"))
            trust(own)
            await until(lambda: opcua.status()["connected"])
            await put(plc["good"], 3)
            await until(lambda: sum(numbers(shelf)) == 3)


async def test_a_wrong_password_is_told_once_and_hidden(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """The server's refusal is an alarm that names what to look at and never the password."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    caplog.set_level(logging.DEBUG, "gatepost")
    async with serving(port, secured=tmp_path / "server", users=True):
        opcua = secured(port, own, "wr0ng-password", **PERSON)
        async with running(opcua, shelf, connected=False):
            await until(lambda: shelf.notices("server_untrusted"))
            trust(own)
            await until(lambda: shelf.notices("not_authorised"))
            failures = opcua.status()["failures"]
            await until(lambda: opcua.status()["failures"] > failures + 1)
            assert len(shelf.notices("not_authorised")) == 1
            assert "look at user, password and role" in opcua.status()["error"]
            assert "wr0ng-password" not in caplog.text + str(opcua.status())


async def test_an_anonymous_visitor_is_told_what_is_asked_for(tmp_path: Path):
    """A server without anonymous access says which identities it takes."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    tokens = [ua.UserNameIdentityToken]
    opcua = secured(port, own)
    running_too = running(opcua, shelf, connected=False)
    async with serving(port, secured=tmp_path / "server", users=True, tokens=tokens), running_too:
        await until(lambda: shelf.notices("server_untrusted"))
        trust(own)
        await until(lambda: "it takes UserName" in (opcua.status()["error"] or ""))


async def test_a_user_may_come_with_a_certificate(tmp_path: Path):
    """The certificate of a user instead of a name."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    person = Certificates(tmp_path / "person").own(datetime.now(UTC))
    files: dict[str, Any] = {"user_cert_file": person.certificate, "user_key_file": person.key}
    async with serving(port, secured=tmp_path / "server", users=True):
        opcua = secured(port, own, **files)
        async with running(opcua, shelf, connected=False):
            await until(lambda: shelf.notices("server_untrusted"))
            trust(own)
            await until(lambda: opcua.status()["connected"])


async def test_an_impostor_hears_no_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A server that nobody has trusted gets neither a name nor a password (row 50)."""
    asked: list[object] = []
    monkeypatch.setattr(Users, "get_user", lambda self, *who, **more: asked.append(who))
    port, shelf = free_port(), Shelf()
    async with serving(port, secured=tmp_path / "server", users=True):
        opcua = secured(port, tmp_path / "own", **PERSON)
        async with running(opcua, shelf, connected=False):
            await until(lambda: opcua.status()["failures"] > 2)
    assert asked == []


async def test_a_server_that_offers_no_security_is_refused(tmp_path: Path):
    """Only None is offered (row 54): there is no falling back."""
    port, shelf = free_port(), Shelf()
    async with serving(port), running(secured(port, tmp_path), shelf, connected=False) as opcua:
        await until(lambda: shelf.notices("server_refused"))
        error = opcua.status()["error"]
        assert "does not offer basic256sha256/sign_and_encrypt; it offers none" in error


async def test_another_certificate_of_a_known_server_is_refused(tmp_path: Path):
    """A changed certificate (row 53) has to be trusted anew."""
    port, shelf, own = free_port(), Shelf(), tmp_path / "own"
    opcua = secured(port, own)
    async with running(opcua, shelf, connected=False):
        async with serving(port, secured=tmp_path / "server"):
            await until(lambda: shelf.notices("server_untrusted"))
            trust(own)
            await until(lambda: opcua.status()["connected"])
        async with serving(port, secured=tmp_path / "renewed"):
            await until(lambda: len(shelf.notices("server_untrusted")) == 2)
            trust(own)
            await until(lambda: opcua.status()["connected"])


async def test_a_certificate_must_fit_the_server_and_its_time(tmp_path: Path):
    """Expired, not yet valid, and of another application (row 53): each with its reason."""
    now = datetime.now(UTC)
    ours = Certificates(tmp_path / "ours")
    ours.own(now)
    server = ua.ApplicationDescription(ApplicationType=ua.ApplicationType.Server)
    for folder, made_at, uri, said in (
        ("old", now - timedelta(days=5 * 365 + 1), None, "renew it at the server"),
        ("young", now + timedelta(days=2), None, "renew it at the server"),
        ("other", now, "urn:other", "and the server calls itself urn:other"),
    ):
        theirs = Certificates(tmp_path / folder).own(made_at)
        server.ApplicationUri = uri or theirs.uri
        with pytest.raises(Exception, match=said):
            await ours.judge(theirs.certificate.read_bytes(), server)
    with pytest.raises(Exception, match="cannot be read"):
        await ours.judge(b"\x30\x03abc", server)


async def test_a_broken_file_in_the_trust_list_is_named(tmp_path: Path):
    """Nobody is trusted by accident, and the message says where to look."""
    ours = Certificates(tmp_path)
    ours.own(datetime.now(UTC))
    (ours.trusted / "note.pem").write_text("please trust")
    with pytest.raises(Exception, match=str(ours.trusted)):
        await ours.validator()


def test_our_own_certificate_is_made_once(tmp_path: Path):
    """With the URI, the host and the uses that servers compare; its key is readable by nobody else."""
    now = datetime.now(UTC)
    ours = Certificates(tmp_path)
    first, again = ours.own(now), ours.own(now + timedelta(days=1))
    assert first == again
    assert first.uri.startswith("urn:")
    assert stat.S_IMODE(first.key.stat().st_mode) == 0o600
    assert first.expires - now > timedelta(days=4 * 365)
    first.key.unlink()
    with pytest.raises(Exception, match=r"its key .* is missing"):
        ours.own(now)


def test_the_warnings_before_a_certificate_expires():
    """30 days, 7 days, and when it has."""
    now = datetime.now(UTC)
    left = {days: days_left(now + timedelta(days=days), now) for days in (31, 29, 8, 6, -1)}
    assert left == {31: None, 29: 30, 8: 30, 6: 7, -1: 0}


def test_the_leaf_of_a_chain(tmp_path: Path):
    """Servers send their certificate followed by those of its authorities."""
    der = Certificates(tmp_path).own(datetime.now(UTC)).certificate.read_bytes()
    assert leaf(der + der) == der
    assert leaf(b"") == b""
