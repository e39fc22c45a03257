"""Topic patterns with named wildcards, matched level by level."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import zip_longest

_WILDCARD = re.compile(r"\{([A-Za-z_]\w*)\}")


@dataclass(frozen=True, slots=True)
class Pattern:
    """``plant/{site}/{line}/consumption``: a literal level is a text, a wildcard its name in `names`."""

    text: str
    levels: tuple[str | None, ...]  # None: a wildcard
    names: Mapping[int, str]  # position → name of the wildcard

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """The pattern of a text. Raises ValueError."""
        levels: list[str | None] = []
        names: dict[int, str] = {}
        for level in text.split("/"):
            wildcard = _WILDCARD.fullmatch(level)
            if wildcard is None and (not level or set(level) & set("{}+#")):
                raise ValueError(f"level {level!r} must be a word or one named wildcard like {{line}}")
            if wildcard and wildcard[1] in names.values():
                raise ValueError(f"wildcard {{{wildcard[1]}}} stands twice")
            if wildcard:
                names[len(levels)] = wildcard[1]
            levels.append(None if wildcard else level)
        return cls(text, tuple(levels), names)

    @property
    def filter(self) -> str:
        """The MQTT filter of its topics: ``plant/+/+/consumption``."""
        return "/".join("+" if level is None else level for level in self.levels)

    def match(self, levels: list[str]) -> dict[str, str] | None:
        """The wildcards of a topic that fits, or None."""
        for literal, level in zip_longest(self.levels, levels, fillvalue=""):
            if level == "" or (literal is not None and literal != level):
                return None
        return {name: levels[position] for position, name in self.names.items()}

    def overlaps(self, other: Pattern) -> bool:
        """Whether some topic fits both."""
        return len(self.levels) == len(other.levels) and all(
            one is None or two is None or one == two for one, two in zip(self.levels, other.levels, strict=True)
        )
