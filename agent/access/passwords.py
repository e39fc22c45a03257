"""Passwords of the console's users: argon2id hashes, and a check that takes as long for who is unknown."""

from __future__ import annotations

import secrets
from functools import cache
from typing import Final

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST: Final = 12  # characters
LONGEST: Final = 256
MOST_MEMORY_KIB: Final = 256 << 10  # a hash that asks for more could take the box's memory at each try
MOST_PASSES: Final = 10
_HASHER: Final = PasswordHasher(time_cost=3, memory_cost=19_456, parallelism=1)  # OWASP's least memory, three passes


def hashed(password: str) -> str:
    """The argon2id hash for the configuration, in PHC form. Raises ValueError for what is too short or too long."""
    if not SHORTEST <= len(password) <= LONGEST:
        raise ValueError(f"has {len(password)} characters; it needs {SHORTEST} to {LONGEST}")
    return _HASHER.hash(password)


def checked(text: str) -> str:
    """A hash as it may stand in the configuration. Raises ValueError."""
    try:
        found = extract_parameters(text)
    except InvalidHashError:
        raise ValueError("is no argon2 hash; make one with `gatepost user NAME`") from None
    if found.type.name != "ID" or found.memory_cost > MOST_MEMORY_KIB or found.time_cost > MOST_PASSES:
        raise ValueError(
            f"is not argon2id within {MOST_MEMORY_KIB >> 10} MiB and {MOST_PASSES} passes; make one with "
            "`gatepost user NAME`"
        )
    return text


def matches(password: str, phc: str | None) -> bool:
    """Whether this is the password; without a hash the same work is done. Takes some 30 ms: use a thread."""
    try:
        return _HASHER.verify(phc or _nobodys(), password) and phc is not None
    except (VerificationError, InvalidHashError):
        return False


@cache
def _nobodys() -> str:
    return _HASHER.hash(secrets.token_urlsafe(32))
