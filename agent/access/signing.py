"""What a person may sign with: a name and a reason that read as they were meant, wherever the trail is shown."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

LONGEST_NAME: Final = 64
LONGEST_REASON: Final = 1000

# line breaks, terminal codes and direction overrides: what a person signs must read as it was meant
_UNREADABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def readable(text: str) -> str:
    """The text itself. Raises ValueError for characters that hide or change what is read."""
    if _UNREADABLE.search(text):
        raise ValueError("contains control characters or direction overrides; write it as plain text in one line")
    return text


def person(text: str) -> str:
    """A name that somebody signs with. Raises ValueError."""
    if " via " in text:
        raise ValueError("must not contain ' via ': the agent adds that itself")
    return readable(text)


def known_as(name: str) -> str:
    """The same for every way to write this name: capitals, wide letters, composed or not, with what nobody sees."""
    seen = (one for one in unicodedata.normalize("NFKC", name) if unicodedata.category(one) != "Cf")
    return unicodedata.normalize("NFKC", "".join(seen).casefold())
