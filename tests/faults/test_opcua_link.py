"""What happens around an OPC UA source: it recovers by itself, and status says what it was and how long it lasted."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from agent.sources.opcua import OpcuaConfig, OpcuaSource
from agent.sources.opcua_security import OF_CLIENTS, VALID_DAYS, Certificates
from tests.mqtt_bench import Shelf, until
from tests.opcua_bench import QUICK, child, config, free_port, numbers, put, running, serving, source
from tests.quiet_link import QuietLink, quiet_link

SECURED = {"policy": "basic256sha256", "mode": "sign_and_encrypt"}


def outages(opcua: OpcuaSource) -> list[Mapping[str, Any]]:
    return [one for one in opcua.status()["troubles"] if one["what"] == "outage"]


@pytest.mark.parametrize(("how", "said"), [("silence", "silent|nothing"), ("cut", "closed|lost|ConnectionError")])
async def test_a_link_that_breaks_is_an_outage_with_its_time(how: str, said: str):
    """Half-open or reset: noticed, found again by itself, and no quantity is missing."""
    port, shelf = free_port(), Shelf()
    async with child(port) as plc, quiet_link(port) as link, running(source(link.port, silent_s=3), shelf) as opcua:
        await plc.set(5)
        await until(lambda: sum(numbers(shelf)) == 5)
        began = time.monotonic()
        _break(link, how)
        await until(lambda: opcua.status()["error"] or outages(opcua))
        await plc.set(12)
        link.speak()
        await until(lambda: sum(numbers(shelf)) == 12)
        (outage,) = outages(opcua)
        assert 0 <= outage["seconds"] <= time.monotonic() - began + 0.1
        assert any(one in outage["why"] for one in said.split("|")), outage
        assert opcua.status()["connected"]
        assert shelf.notices("outage")[0].detail == outage


def _break(link: QuietLink, how: str) -> None:
    link.silence()
    if how == "cut":
        link.cut()


# ── certificates ────────────────────────────────────────────────────────────────────────────────────────────


class Authority:
    """A certificate authority of a plant that issues certificates to OPC UA servers."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "plant authority")])
        now = datetime.now(UTC)
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
            key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        self.certificate = (
            x509.CertificateBuilder(self.name, self.name, self.key.public_key(), x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=900))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self.key.public_key()), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def sign(self, folder: Path) -> None:
        """Replace the certificate in this folder by one of ours with the same key, names and uses."""
        file = Certificates(folder).own(datetime.now(UTC)).certificate
        own = x509.load_der_x509_certificate(file.read_bytes())
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        builder = x509.CertificateBuilder(
            self.name, own.subject, own.public_key(), x509.random_serial_number(),
            own.not_valid_before_utc, own.not_valid_after_utc,
        )  # fmt: skip
        for one in own.extensions:
            value = issuer if isinstance(one.value, x509.AuthorityKeyIdentifier) else one.value
            builder = builder.add_extension(value, critical=one.critical)
        file.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


def secured(port: int, folder: Path) -> OpcuaSource:
    given = config(port).model_dump(exclude_unset=True) | SECURED
    return OpcuaSource(OpcuaConfig.model_validate(given), folder=folder, pace=QUICK)


def made(folder: Path, days: int = 0) -> Path:
    """The certificate in this folder, made so many days ago if there is none."""
    return Certificates(folder).own(datetime.now(UTC) - timedelta(days=days)).certificate


def trusts(folder: Path, certificate: Path, name: str) -> None:
    (folder / "trusted").mkdir(parents=True, exist_ok=True)
    shutil.copy(certificate, folder / "trusted" / name)


@pytest.mark.parametrize("how", ["trusted before", "same authority"])
async def test_a_server_that_renews_its_certificate_is_found_again(tmp_path: Path, how: str):
    """Where the new one, or its authority, is trusted already nobody has to do anything; status has its expiry."""
    port, shelf, own, old, new = free_port(), Shelf(), tmp_path / "own", tmp_path / "old", tmp_path / "new"
    made(old, days=900)
    made(new)
    if how == "same authority":
        authority = Authority()
        authority.sign(old)
        authority.sign(new)
        (own / "trusted").mkdir(parents=True)
        (own / "trusted" / "authority.der").write_bytes(authority.certificate.public_bytes(serialization.Encoding.DER))
    else:
        trusts(own, made(old), "old.der")
        trusts(own, made(new), "new.der")
    opcua = secured(port, own)
    async with running(opcua, shelf, connected=False):
        async with serving(port, secured=old) as plc:
            await until(lambda: opcua.status()["connected"])
            before = opcua.status()["certificates_expire"]["the server's"]
            await put(plc["good"], 3)
            await until(lambda: sum(numbers(shelf)) == 3)
        async with serving(port, secured=new) as plc:
            await put(plc["good"], 8)
            await until(lambda: sum(numbers(shelf)) == 8)
            assert opcua.status()["certificates_expire"]["the server's"] > before + timedelta(days=800)
            assert [one["seconds"] >= 0 for one in outages(opcua)] == [True]
    assert not shelf.notices("server_untrusted")


async def test_a_certificate_that_is_about_to_expire_is_told_once(tmp_path: Path):
    """Days before: an alarm with its date, whose it is, and nothing more for that many days; data flow on."""
    port, shelf, own, theirs = free_port(), Shelf(), tmp_path / "own", tmp_path / "server"
    trusts(own, made(theirs, days=VALID_DAYS - 5), "server.der")
    opcua = secured(port, own)
    async with running(opcua, shelf, connected=False), serving(port, secured=theirs) as plc:
        await until(lambda: shelf.notices("certificate_expires"))
        for total in (3, 8):
            await put(plc["good"], total)
            await until(lambda total=total: sum(numbers(shelf)) == total)  # type: ignore[misc]
        (told,) = shelf.notices("certificate_expires")
        assert told.detail == {
            "whose": "the server's",
            "expires": opcua.status()["certificates_expire"]["the server's"].isoformat(),
        }


@contextlib.asynccontextmanager
async def choosy(port: int, folder: Path, trusted: Path) -> AsyncIterator[dict[str, Any]]:
    """A server that lets in only whose certificate lies in `trusted`."""
    async with serving(port, secured=folder) as plc:
        store = TrustStore([trusted], [])
        await store.load()
        plc["server"].set_certificate_validator(CertificateValidator(OF_CLIENTS, store))
        yield plc


async def test_our_own_certificate_can_be_renewed_while_it_runs(tmp_path: Path):
    """Once its files are removed the next connection makes a new one; a server that does not trust it is told."""
    port, shelf, own, known = free_port(), Shelf(), tmp_path / "own", tmp_path / "known"
    first = made(own, days=900)
    known.mkdir()
    shutil.copy(first, known / "first.der")
    trusts(own, made(tmp_path / "server"), "server.der")
    opcua = secured(port, own)
    async with running(opcua, shelf, connected=False):
        async with choosy(port, tmp_path / "server", known) as plc:
            await until(lambda: opcua.status()["connected"])
            before = opcua.status()["certificates_expire"]["our"]
            await put(plc["good"], 3)
            await until(lambda: sum(numbers(shelf)) == 3)
            for file in (own / "own").iterdir():
                file.unlink()
        async with choosy(port, tmp_path / "server", known):
            await until(lambda: shelf.notices("not_trusted"))
            assert str(own / "own" / "gatepost.der") in opcua.status()["error"]
        shutil.copy(made(own), known / "second.der")
        async with choosy(port, tmp_path / "server", known) as plc:
            await put(plc["good"], 8)
            await until(lambda: sum(numbers(shelf)) == 8)
            assert opcua.status()["certificates_expire"]["our"] > before + timedelta(days=800)
            assert [one["seconds"] >= 0 for one in outages(opcua)] == [True]
