"""Signed checkpoints of the audit chain that leave the box: what finds a trail that was rebuilt or cut.

A checkpoint is five lines: what it is, the store it is of, the last row's number, its hash in hex, the time (UTC).
The Ed25519 signature over these lines follows in base64. Whoever holds the public key and one checkpoint can tell
whether today's chain still contains what it said then.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from agent.errors import StoreError

TITLE = "gatepost audit checkpoint 1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Where the chain of one store ended at one moment."""

    store: str
    seq: int
    hash: bytes
    at: datetime

    def text(self) -> str:
        """The lines that are signed."""
        return f"{TITLE}\n{self.store}\n{self.seq}\n{self.hash.hex()}\n{self.at.isoformat()}\n"


def sign(checkpoint: Checkpoint, key: Ed25519PrivateKey | None) -> str:
    """The checkpoint as it leaves the box; without a key it is not signed and says so."""
    text = checkpoint.text()
    signature = base64.b64encode(key.sign(text.encode())).decode() if key else "unsigned"
    return f"{text}{signature}\n"


def read(text: str, public: Ed25519PublicKey | None = None) -> Checkpoint:
    """A checkpoint from its lines. Raises StoreError when it is not one, or its signature does not fit."""
    lines = text.strip().splitlines()
    if len(lines) != 6 or lines[0] != TITLE:
        raise StoreError(f"not a checkpoint: it must have six lines and begin with {TITLE!r}")
    try:
        checkpoint = Checkpoint(lines[1], int(lines[2]), bytes.fromhex(lines[3]), datetime.fromisoformat(lines[4]))
    except ValueError as error:
        raise StoreError(f"not a checkpoint: {error}") from error
    if public is not None:
        try:
            public.verify(base64.b64decode(lines[5]), checkpoint.text().encode())
        except (InvalidSignature, ValueError) as error:
            raise StoreError(f"the checkpoint of row {checkpoint.seq} is not signed by this key") from error
    return checkpoint


def append(files: Iterable[Path], signed: str) -> list[str]:
    """Append to each file and sync it; returns what went wrong, one sentence a file."""
    problems = []
    for path in files:
        try:
            with path.open("a", encoding="utf-8") as stream:
                stream.write(signed)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            problems.append(f"{path}: {error.strerror}; the checkpoint did not leave the box")
    return problems


def load_key(path: Path) -> Ed25519PrivateKey:
    """The signing key; made at first use, readable by its owner only. Raises StoreError."""
    if not path.exists():
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
        public = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        path.with_suffix(".pub").write_bytes(public)
    try:
        loaded = serialization.load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no PEM, with a passphrase, of another world
        loaded = None
    if not isinstance(loaded, Ed25519PrivateKey):
        raise StoreError(
            f"{path} is no Ed25519 private key (PEM, without a passphrase); put the right one there, or remove it and "
            "the agent makes a new one"
        )
    return loaded


def load_public(path: Path) -> Ed25519PublicKey:
    """A public key to check signatures with. Raises StoreError."""
    try:
        loaded = serialization.load_pem_public_key(path.read_bytes())
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, Ed25519PublicKey):
        raise StoreError(f"{path} is no Ed25519 public key (PEM)")
    return loaded
