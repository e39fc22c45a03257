"""Keys derived from the business identity of a posting: the same input gives the same keys, also after a restore."""

from __future__ import annotations

from hashlib import sha256

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # Crockford's base32: upper case, no I L O U


def idempotency_key(message_key: str, workflow: str, target: str, number: int = 0) -> str:
    """80 bits as 16 characters of Crockford base32: fits every field of SAP that can be stamped and searched."""
    material = "\x1f".join((message_key, workflow, target, str(number)))
    bits = int.from_bytes(sha256(material.encode()).digest()[:10], "big")
    return "".join(CROCKFORD[bits >> shift & 31] for shift in range(75, -1, -5))


def request_id(key: str) -> str:
    """The 32 hexadecimal digits of SAP Gateway's RequestID header for a posting."""
    return sha256(b"RequestID\x1f" + key.encode()).hexdigest()[:32].upper()
