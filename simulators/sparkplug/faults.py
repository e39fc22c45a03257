"""Faults of an edge node on demand: rules that say which one, how often, at which device; decided with a seed."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

FAULTS: Mapping[str, str] = {
    "lost": "a DDATA is numbered and not sent: a gap in seq",
    "swapped": "a DDATA is sent after the message that follows it",
    "duplicated": "a DDATA is sent twice with the same seq",
    "aliases": "a rebirth nobody asked for, in which every alias means another metric",
    "unknown_alias": "a DDATA with an alias that no birth announced",
    "wrong_bdseq": "an NDEATH with the bdSeq of another connection; the node lives",
    "stale": "all values of the device have quality 500 for `seconds`, then are good again",
    "bad": "the same with quality 0",
    "silent": "the node is connected and publishes nothing for `seconds`; what changed is sent afterwards",
    "reset": "the totalisers of the device stand at 0 and count on from there",
    "vanish": "the connection is cut without a goodbye: the broker publishes the NDEATH",
}
DEFAULT_SECONDS = 3.0


@dataclass(slots=True)
class Rule:
    """One fault: before `count` scans (None: all) or with a probability, at one device or at any."""

    fault: str
    probability: float = 1.0
    count: int | None = None
    device: str = ""
    seconds: float = DEFAULT_SECONDS
    hits: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}; one of {', '.join(FAULTS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability of {self.fault} is {self.probability}; give 0 … 1")
        if self.seconds < 0:
            raise ValueError(f"seconds of {self.fault} is {self.seconds}; give 0 or more")

    def strikes(self, device: str, random: Callable[[], float]) -> bool:
        """Whether it strikes this device now; there must be hits left."""
        if (self.count is not None and self.hits >= self.count) or self.device not in ("", device):
            return False
        return self.probability >= 1 or random() < self.probability


class Faults:
    """The rules in force; the first that strikes wins."""

    def __init__(self, seed: int = 0, rules: Iterable[Rule] = ()) -> None:
        self.rules = list(rules)
        self._struck = Counter[str]()
        self._random = Random(f"{seed}/faults")

    def pick(self, device: str) -> Rule | None:
        """The rule that strikes this scan of a device, if one does."""
        for rule in self.rules:
            if rule.strikes(device, self._random.random):
                rule.hits += 1
                self._struck[rule.fault] += 1
                return rule
        return None

    def struck(self) -> dict[str, int]:
        """How often which fault struck, by rules that are no longer in force too."""
        return dict(self._struck)


def read_rules(text: str | bytes) -> list[Rule]:
    """Rules from JSON: one, or a list of them; raises ValueError that names what is wrong."""
    rows: Any = json.loads(text)
    try:
        return [Rule(**row) for row in (rows if isinstance(rows, list) else [rows])]
    except TypeError as error:
        raise ValueError(f"not a fault rule: {error}") from None


def named(text: str) -> list[Rule]:
    """Rules from `name[=probability],...`, as a person writes them; raises ValueError."""
    parts = (part.strip().partition("=") for part in text.split(",") if part.strip())
    return [Rule(name, float(chance) if chance else 0.02) for name, _, chance in parts]
