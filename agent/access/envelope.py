"""What a gateway sends signed: an HMAC over time, nonce and the very bytes of the body.

``X-Gatepost-Signature = hex(HMAC-SHA256(secret, timestamp \\n nonce \\n hex(SHA256(body))))``
"""

from __future__ import annotations

import hmac
import re
from datetime import datetime
from hashlib import sha256
from typing import Final

from agent.errors import GatepostError

WINDOW_S: Final = 60
_TIMESTAMP: Final = re.compile(r"[0-9]{9,11}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{64}")


class SignatureRefused(GatepostError):  # noqa: N818  # named by what happened, as all of agent.errors
    """Nobody signed by this; `code` says why, `status` is HTTP's word for it. The posting is as it was.

    `by`, `state` and `version` say what is true of it now, where that is known.
    """

    def __init__(
        self, code: str, message: str, status: int = 409, *, by: str = "", state: str = "", version: int = 0
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.by = by
        self.state = state
        self.version = version


def sign(secret: str, timestamp: str, nonce: str, body: bytes) -> str:
    """The signature that such an envelope must carry."""
    text = f"{timestamp}\n{nonce}\n{sha256(body).hexdigest()}"
    return hmac.new(secret.encode(), text.encode(), sha256).hexdigest()


def verify(secret: str, timestamp: str, signature: str, nonce: str, body: bytes, now: datetime) -> None:
    """Raises SignatureRefused: missing, wrong, or from another time than now (±60 s)."""
    if not (_TIMESTAMP.fullmatch(timestamp) and _SIGNATURE.fullmatch(signature)):
        raise SignatureRefused(
            "signature_missing",
            "send X-Gatepost-Timestamp (Unix time in whole seconds) and X-Gatepost-Signature (64 hexadecimal digits)",
            401,
        )
    if not hmac.compare_digest(sign(secret, timestamp, nonce, body), signature):
        raise SignatureRefused(
            "signature_wrong", "the signature does not fit: altered on the way, or made with another secret", 401
        )
    off = int(timestamp) - now.timestamp()
    if abs(off) > WINDOW_S:
        raise SignatureRefused(
            "clock_off",
            f"signed {abs(off):.0f} s {'ahead of' if off > 0 else 'before'} the agent's clock, at most {WINDOW_S} s "
            "are allowed: set the clocks of both machines by NTP, then sign again",
            401,
        )
