"""The server's own certificate and key, made into a folder as OPC UA wants them; renewed or expired on demand."""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

VALID = timedelta(days=7)
EXPIRED = timedelta(hours=-1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """Paths of the certificate (DER, as clients keep it in a trust list) and of its key (PEM)."""

    certificate: Path
    key: Path


def certificate_in(folder: Path, uri: str) -> Certificate:
    """What is in the folder, or is made now: a reader that trusted it goes on trusting it after a restart."""
    paths = _paths(folder)
    return paths if paths.certificate.exists() else make_certificate(folder, uri)


def make_certificate(folder: Path, uri: str, valid: timedelta = VALID) -> Certificate:
    """A new key with a self-signed certificate for this application URI; `valid` counts from now, negative: expired."""
    folder.mkdir(parents=True, exist_ok=True)
    paths, key = _paths(folder), rsa.generate_private_key(public_exponent=65537, key_size=2048)
    certificate = _builder(key, uri, datetime.now(UTC), valid).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths.key.touch(mode=0o600)
    paths.key.write_bytes(key.private_bytes(*pem))
    paths.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.DER))
    return paths


def _builder(key: rsa.RSAPrivateKey, uri: str, now: datetime, valid: timedelta) -> x509.CertificateBuilder:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Simulated line")])
    names = [x509.UniformResourceIdentifier(uri), x509.DNSName("localhost"), x509.DNSName(socket.gethostname())]
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + valid)
        .add_extension(x509.SubjectAlternativeName([*names, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _key_usage() -> x509.KeyUsage:
    """What OPC 10000-6, 6.2.2 wants of an application that signs its own certificate."""
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=True,
        key_encipherment=True,
        data_encipherment=True,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _paths(folder: Path) -> Certificate:
    return Certificate(folder / "server.der", folder / "server.key.pem")
