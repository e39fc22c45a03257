"""Certificates of the OPC UA client: its own, made once, and those of the servers that somebody has trusted.

FOLDER/own/gatepost.der       our certificate: what a server has to trust
FOLDER/own/gatepost.pem       its key, readable by the agent alone
FOLDER/trusted/*.der, *.pem   servers, or their authorities, that we trust
FOLDER/rejected/*.der         servers that were refused: moved to trusted/ by a person, never by the agent
FOLDER/revoked/*.der, *.pem   revocation lists of the authorities in trusted/
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, NamedTuple

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.cert_gen import dump_private_key_as_pem, generate_private_key
from asyncua.crypto.truststore import TrustStore
from asyncua.crypto.validator import CertificateValidator, CertificateValidatorOptions
from asyncua.ua.status_codes import StatusCodes
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from agent.errors import SourceLost

WARN_DAYS: Final = (30, 7, 0)  # before a certificate expires
VALID_DAYS: Final = 5 * 365
MOST_REJECTED: Final = 100  # files; whoever floods us with certificates does not fill the disk
OWN: Final = "gatepost"
SUFFIXES: Final = (".der", ".pem")
_ONE_AT_A_TIME: Final = threading.Lock()  # sources share a folder, and each asks on a thread of its own
OF_SERVERS: Final = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_SERVER
OF_CLIENTS: Final = CertificateValidatorOptions.TRUSTED_VALIDATION | CertificateValidatorOptions.PEER_CLIENT


class ServerRefused(SourceLost):
    """One side refuses the other; trying again changes nothing until somebody does something. `action` names it."""

    def __init__(self, action: str, message: str) -> None:
        super().__init__(message)
        self.action = action


class Own(NamedTuple):
    """Our own certificate."""

    certificate: Path
    key: Path
    uri: str  # the application URI; servers compare it
    expires: datetime


class Certificates:
    """The folder of certificates. Nothing is read or made before a method is called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.trusted = folder / "trusted"
        self.rejected = folder / "rejected"
        self.revoked = folder / "revoked"

    @property
    def made(self) -> bool:
        """Whether there is a certificate of our own already."""
        return (self.folder / "own" / f"{OWN}.der").exists()

    def own(self, now: datetime) -> Own:
        """Our certificate and key; made when there is neither. Raises SourceLost."""
        certificate, key = self.folder / "own" / f"{OWN}.der", self.folder / "own" / f"{OWN}.pem"
        try:
            self._make_folders()
            with _ONE_AT_A_TIME:
                if not certificate.exists() and not key.exists():
                    _make(certificate, key, now)
            read = x509.load_der_x509_certificate(certificate.read_bytes())
            if not key.exists():
                raise ValueError(f"its key {key} is missing; bring it back, or remove both and trust the new one")
        except (OSError, ValueError) as error:
            raise SourceLost(f"our own certificate {certificate} cannot be used: {error}") from None
        uri = next(iter(_names(read).get_values_for_type(x509.UniformResourceIdentifier)), "")
        return Own(certificate, key, uri, read.not_valid_after_utc)

    async def judge(self, der: bytes, server: ua.ApplicationDescription) -> x509.Certificate:
        """The server's certificate, if it is trusted and fits the server. Raises ServerRefused, SourceLost."""
        try:
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            raise ServerRefused("server_refused", "the server's certificate cannot be read; renew it there") from None
        try:
            await (await self.validator())(certificate, server)
        except ServiceError as error:
            raise await asyncio.to_thread(self._refusal, certificate, server, int(error.code)) from None
        return certificate

    async def validator(self, checks: CertificateValidatorOptions = OF_SERVERS) -> CertificateValidator:
        """What asks of everyone: trusted, not revoked, in its time, for this use, with its own URI."""
        store = TrustStore([self.trusted], [self.revoked])
        try:
            nobody = await asyncio.to_thread(self._trusts_nobody)
            await store.load_crl()
            if not nobody:
                await store.load_trust()  # which cannot be empty; without it nobody is trusted
        except (OSError, ValueError) as error:
            raise SourceLost(
                f"a file in {self.trusted} or {self.revoked} cannot be read as a certificate: {error}"
            ) from None
        return CertificateValidator(checks, store)

    def _trusts_nobody(self) -> bool:
        self._make_folders()
        return not any(one.suffix.lower() in SUFFIXES for one in self.trusted.iterdir())

    def _make_folders(self) -> None:
        for one in (self.folder / "own", self.trusted, self.rejected, self.revoked):
            one.mkdir(parents=True, exist_ok=True)

    def _refusal(self, certificate: x509.Certificate, server: ua.ApplicationDescription, code: int) -> ServerRefused:
        name = subject(certificate)
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if code == StatusCodes.BadCertificateTimeInvalid:
            why = f"is valid from {begins:%Y-%m-%d} to {ends:%Y-%m-%d}; renew it at the server, or set the clock"
        elif code == StatusCodes.BadCertificateUriInvalid:
            said = ", ".join(_names(certificate).get_values_for_type(x509.UniformResourceIdentifier)) or "none"
            why = f"is for {said}, and the server calls itself {server.ApplicationUri}; make it a new one there"
        elif code == StatusCodes.BadCertificateRevoked:
            why = f"is on a revocation list in {self.revoked}"
        elif code == StatusCodes.BadCertificateUntrusted:
            return ServerRefused("server_untrusted", self._untrusted(certificate, name))
        else:
            why = "lacks the extensions or uses of an OPC UA server certificate; make it a new one there"
        return ServerRefused("server_refused", f"the server's certificate {name} {why}")

    def _untrusted(self, certificate: x509.Certificate, name: str) -> str:
        """What a person must do; the certificate lies ready for it."""
        file = self.set_aside(certificate, name)
        if file is None:
            return f"the server's certificate {name} is not trusted, and {self.rejected} is full; empty it"
        ignored = sorted(one.name for one in self.trusted.iterdir() if one.suffix.lower() not in SUFFIXES)
        hint = f" (ignored there, being neither .der nor .pem: {', '.join(ignored[:5])})" if ignored else ""
        return (
            f"the server's certificate {name} is not trusted; if its SHA-256 is {thumbprint(certificate)}, "
            f"move {file} to {self.trusted / file.name}{hint}"
        )

    def set_aside(self, certificate: x509.Certificate, name: str) -> Path | None:
        """Where it lies ready for a person to trust it; None: too many lie there."""
        file = self.rejected / f"{re.sub(r'[^A-Za-z0-9._-]+', '_', name)[:60]}_{thumbprint(certificate)[:16]}.der"
        if not file.exists():
            if sum(1 for _ in self.rejected.iterdir()) >= MOST_REJECTED:
                return None
            file.write_bytes(certificate.public_bytes(Encoding.DER))
        return file


def subject(certificate: x509.Certificate) -> str:
    """The name in a certificate, for people."""
    names = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(names[0].value) if names else certificate.subject.rfc4514_string() or "without a name"


def thumbprint(certificate: x509.Certificate) -> str:
    """Its SHA-256, in hexadecimal."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def leaf(chain: bytes) -> bytes:
    """The first certificate of what a server sends, which may be followed by those of its authorities."""
    if len(chain) < 4 or chain[0] != 0x30:
        return chain
    if chain[1] < 0x80:
        return chain[: 2 + chain[1]]
    width = chain[1] & 0x7F
    return chain[: 2 + width + int.from_bytes(chain[2 : 2 + width], "big")]


def days_left(expires: datetime, now: datetime) -> int | None:
    """The tightest warning that is due, in days; None: none is."""
    left = expires - now
    return next((days for days in reversed(WARN_DAYS) if left <= timedelta(days=days)), None)


def _names(certificate: x509.Certificate) -> x509.SubjectAlternativeName:
    try:
        return certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return x509.SubjectAlternativeName([])


def _make(file: Path, key_file: Path, now: datetime) -> None:
    """A self-signed application certificate as the specification (part 6, 6.2.2) wants it, for client and server."""
    host = socket.gethostname()
    key = generate_private_key()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, f"Gatepost on {host}"[:64])])
    uri = x509.UniformResourceIdentifier(f"urn:{re.sub(r'[^A-Za-z0-9.-]', '-', host)}:gatepost")
    builder = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # the server's clock may be behind
        .not_valid_after(now + timedelta(days=VALID_DAYS))
        .add_extension(x509.SubjectAlternativeName([uri, *_hosts(host)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(), critical=True)
        .add_extension(
            x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]),
            critical=False,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    _write_key(key_file, key)
    file.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER))


def _hosts(host: str) -> Iterator[x509.GeneralName]:
    """By which names this machine is known."""
    for name in dict.fromkeys((host, socket.getfqdn(), "localhost")):
        try:
            yield x509.IPAddress(ipaddress.ip_address(name))
        except ValueError:
            if name.isascii():
                yield x509.DNSName(name)


def _usage() -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,  # a certificate that signed itself
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _write_key(file: Path, key: RSAPrivateKey) -> None:
    """The key is never readable by anybody else, not for a moment."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(dump_private_key_as_pem(key))
