"""Keys derived from the business identity of a posting: the same input gives the same keys, also after a restore."""

from __future__ import annotations

from hashlib import sha256

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # upper case, no I L O U: nothing that a person misreads
_PAIRS = tuple(first + second for first in CROCKFORD for second in CROCKFORD)  # ten bits at a time


def idempotency_key(message_key: str, workflow: str, target: str, number: int = 0) -> str:
    """80 bits as 16 characters of Crockford base32: fits every field of SAP that can be stamped and searched."""
    digest = sha256(f"{message_key}\x1f{workflow}\x1f{target}\x1f{number}".encode()).digest()
    bits = int.from_bytes(digest[:10], "big")
    return "".join([_PAIRS[bits >> shift & 1023] for shift in _SHIFTS])


_SHIFTS = range(70, -1, -10)


def request_id(key: str) -> str:
    """The 32 hexadecimal digits of SAP Gateway's RequestID header for a posting."""
    return sha256(b"RequestID\x1f" + key.encode()).hexdigest()[:32].upper()
