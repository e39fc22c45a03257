"""Keys derived from the business identity of a posting: the same input gives the same keys, also after a restore."""

from __future__ import annotations

from base64 import b32encode
from hashlib import sha256

_RFC4648 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_CROCKFORD = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # upper case, no I L O U: nothing that a person misreads
_TO_CROCKFORD = bytes.maketrans(_RFC4648, _CROCKFORD)


def idempotency_key(message_key: str, workflow: str, target: str, number: int = 0) -> str:
    """80 bits as 16 characters of Crockford base32: fits every field of SAP that can be stamped and searched."""
    digest = sha256(f"{message_key}\x1f{workflow}\x1f{target}\x1f{number}".encode()).digest()
    return b32encode(digest[:10]).translate(_TO_CROCKFORD).decode()


def request_id(key: str) -> str:
    """The 32 hexadecimal digits of SAP Gateway's RequestID header for a posting."""
    return sha256(b"RequestID\x1f" + key.encode()).hexdigest()[:32].upper()
