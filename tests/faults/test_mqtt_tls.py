"""TLS to the broker: it works with the right certificates, and is refused with one clear line with any other."""

from __future__ import annotations

import datetime
import ipaddress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.sources.mqtt import MqttConfig, MqttSource
from tests.mqtt_bench import QUICK, Shelf, mosquitto, running, until

NOW = datetime.datetime.now(datetime.UTC)
DAY = datetime.timedelta(days=1)


def pem_key(path: Path) -> ec.EllipticCurvePrivateKey:
    key = ec.generate_private_key(ec.SECP256R1())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return key


class Authority:
    """A certificate authority with its files in a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = pem_key(folder / "ca.key")
        self._write("ca", self.name, self.key, [x509.BasicConstraints(ca=True, path_length=None)], DAY)

    def issue(self, name: str, *, host: str = "127.0.0.1", ends: datetime.timedelta = DAY) -> Path:
        key = pem_key(self.folder / f"{name}.key")
        alternative = x509.IPAddress(ipaddress.ip_address(host)) if host[0].isdigit() else x509.DNSName(host)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        return self._write(name, subject, key, [x509.SubjectAlternativeName([alternative])], ends)

    def _write(self, name, subject, key, extensions, ends) -> Path:
        builder = x509.CertificateBuilder(
            self.name, subject, key.public_key(), x509.random_serial_number(), NOW - 2 * DAY, NOW + ends
        )
        for extension in extensions:
            builder = builder.add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        path = self.folder / f"{name}.pem"
        path.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path


def tls_source(port: int, ca: Path, **options) -> MqttSource:
    brokers = (f"mqtts://127.0.0.1:{port}",)
    config = MqttConfig(
        name="plant", brokers=brokers, client_id="gatepost-1", topics=("plant/#",), ca_file=ca, **options
    )
    return MqttSource(config, pace=QUICK)


def broker_settings(authority: Authority, certificate: Path) -> dict[str, str]:
    return {
        "cafile": str(authority.folder / "ca.pem"),
        "certfile": str(certificate),
        "keyfile": str(certificate.with_suffix(".key")),
    }


@pytest.mark.parametrize("version", ["3.1.1", "5"])
async def test_tls_with_a_client_certificate(tmp_path: Path, version: str):
    """A broker that asks for a client certificate gets it; a large receipt and its echo go both ways."""
    authority = Authority(tmp_path / "pki", "plant")
    settings = broker_settings(authority, authority.issue("broker"))
    client = authority.issue("agent")
    async with mosquitto(tmp_path / "m", require_certificate="true", **settings) as broker:
        shelf = Shelf()
        mqtt = tls_source(
            broker.port, authority.folder / "ca.pem",
            cert_file=client, key_file=client.with_suffix(".key"), version=version,
        )  # fmt: skip
        async with running(mqtt, shelf):
            payloads = [bytes([number]) * 50_000 for number in range(40)]
            for payload in payloads:
                mqtt.receipts.put("plant/echo", payload)
            await until(lambda: shelf.payloads == payloads)
            await until(lambda: mqtt.status()["in_flight"] == 0)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wrong authority", "self-signed certificate in certificate chain"),
        ("wrong host", "not valid for '127.0.0.1'"),
        ("expired", "certificate has expired"),
        ("no client certificate", "no TLS connection|certificate required|closed the connection"),
    ],
)
async def test_a_wrong_certificate_is_refused_with_one_clear_line(tmp_path: Path, fault: str, said: str, caplog):
    """No connection, no plain text, one line that says why."""
    authority, trusted = Authority(tmp_path / "pki", "plant"), Authority(tmp_path / "other", "other")
    host = "scada.example" if fault == "wrong host" else "127.0.0.1"
    certificate = authority.issue("broker", host=host, ends=-DAY if fault == "expired" else DAY)
    settings = broker_settings(authority, certificate)
    if fault == "no client certificate":
        settings["require_certificate"] = "true"
    ca = (trusted if fault == "wrong authority" else authority).folder / "ca.pem"
    async with mosquitto(tmp_path / "m", **settings) as broker:
        mqtt = tls_source(broker.port, ca)
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: mqtt.status()["failures"] > 1)
            assert not mqtt.status()["connected"]
        error = mqtt.status()["error"]
        assert any(words in error for words in said.split("|")), error
        assert "\n" not in error
        assert len(caplog.records) == 1


async def test_a_tls_port_is_recognised_by_a_plain_client(tmp_path: Path):
    """mqtt:// to a TLS port ends with a reason, not with a hang."""
    authority = Authority(tmp_path / "pki", "plant")
    async with mosquitto(tmp_path / "m", **broker_settings(authority, authority.issue("broker"))) as broker:
        config = MqttConfig(
            name="plant", brokers=(f"mqtt://127.0.0.1:{broker.port}",), client_id="gatepost-1", topics=("plant/#",)
        )
        mqtt = MqttSource(config, pace=QUICK)
        async with running(mqtt, Shelf(), connected=False):
            await until(lambda: mqtt.status()["error"])
            assert not mqtt.status()["connected"]
