"""Faults on demand: rules that say which one, how often, where; decided with a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Stage(StrEnum):
    """When a fault strikes, seen from the commit."""

    BEFORE = "before"  # nothing is booked
    DELAY = "delay"  # booked, later than usual
    LATE = "late"  # booked when nobody listens any more
    AFTER = "after"  # booked, and the answer is not what it should be


FAULTS: Mapping[str, Stage] = {
    "unavailable": Stage.BEFORE,  # 503; value: Retry-After
    "too_many": Stage.BEFORE,  # 429; value: Retry-After, garbage allowed
    "hang": Stage.BEFORE,  # silence until the client gives up, or `seconds`
    "reset": Stage.BEFORE,  # connection closed, nothing booked
    "html": Stage.BEFORE,  # 200 with a login page
    "unauthorized": Stage.BEFORE,  # 401
    "forbidden": Stage.BEFORE,  # 403 without x-csrf-token: no authorisation
    "expired_token": Stage.BEFORE,  # the session is thrown away: 403 x-csrf-token: Required
    "redirect": Stage.BEFORE,  # 302; value: location
    "locked": Stage.BEFORE,  # 423
    "xml_error": Stage.BEFORE,  # 400 in XML; value: the whole body, for example an entity bomb
    "error_in_200": Stage.BEFORE,  # 200 with {"error": …}
    "false_yes": Stage.BEFORE,  # 204, and nothing was done
    "function_error": Stage.BEFORE,  # 200 with a FunctionMessage of type E
    "slow": Stage.DELAY,  # `seconds` before the work begins
    "late_commit": Stage.LATE,  # connection closed at once, booked after `seconds`
    "commit_after_timeout": Stage.LATE,  # silence until the client gives up, booked `seconds` after that
    "answer_lost": Stage.AFTER,  # connection closed without an answer
    "error_after_commit": Stage.AFTER,  # 500
    "bad_gateway": Stage.AFTER,  # 502 with HTML, as a proxy in between makes it
    "truncated": Stage.AFTER,  # JSON cut in the middle
    "empty_body": Stage.AFTER,  # 201 and nothing
    "no_document": Stage.AFTER,  # 201 without a document number
    "empty_items": Stage.AFTER,  # 201 with an empty nested list
    "no_etag": Stage.AFTER,  # without the ETag
    "wrong_type": Stage.AFTER,  # JSON declared as text/html in latin-1
    "huge": Stage.AFTER,  # padded to `value` bytes (50 MB)
    "trickle": Stage.AFTER,  # one byte every `seconds`
    "message_error": Stage.AFTER,  # 201 with an error in the header sap-message; value: its text
    "cogi": Stage.AFTER,  # a confirmation whose movements fail later
}
_ANY_METHOD = frozenset({"truncated", "no_etag", "wrong_type", "huge", "trickle"})
WRITE_ONLY = frozenset(
    name for name, stage in FAULTS.items() if stage in {Stage.LATE, Stage.AFTER} and name not in _ANY_METHOD
) | {"expired_token", "locked", "false_yes", "function_error"}


@dataclass(slots=True)
class Rule:
    """One fault: for `count` requests or with a probability, where method, path and the order of a write match."""

    fault: str
    probability: float = 1.0
    count: int | None = None
    path: str = ""
    method: str = ""
    order: str = ""
    seconds: float = 0.0
    value: str = ""
    hits: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"unknown fault {self.fault!r}; one of {', '.join(FAULTS)}")
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability of {self.fault} is {self.probability}; give 0 … 1")

    @property
    def stage(self) -> Stage:
        """When it strikes."""
        return FAULTS[self.fault]

    def matches(self, method: str, path: str, order: Callable[[], str] = str) -> bool:
        """True when this request is one of those meant, and there are hits left. `order` is asked only by its rules."""
        if self.count is not None and self.hits >= self.count:
            return False
        if self.path not in path or (self.method and self.method != method):
            return False
        if path == "/oauth/token" and "oauth" not in self.path:  # only a rule that names it
            return False
        if method in {"GET", "HEAD"}:
            return not self.order and self.fault not in WRITE_ONLY
        return self.order in ("", order() if self.order else "")


class Faults:
    """The rules in force; the first that strikes wins."""

    def __init__(self, seed: int = 0, rules: Iterable[Rule] = ()) -> None:
        self.random = random.Random(seed)
        self.rules = list(rules)

    def pick(self, method: str, path: str, order: Callable[[], str] = str) -> Rule | None:
        """The rule that strikes this request, if one does; `order` tells which order a write is about."""
        for rule in self.rules:
            if rule.matches(method, path, order) and (rule.probability >= 1 or self.random.random() < rule.probability):
                rule.hits += 1
                return rule
        return None

    def replace(self, rules: Iterable[Rule]) -> None:
        """Put these rules in the place of all others."""
        self.rules = list(rules)

    def as_json(self) -> list[dict[str, Any]]:
        """The rules with their hits."""
        return [asdict(rule) for rule in self.rules]


def read_rules(payload: Any) -> list[Rule]:
    """Rules from JSON: a list, or {"rules": […]}; raises ValueError that names what is wrong."""
    rows = payload.get("rules", [payload]) if isinstance(payload, dict) else payload
    try:
        return [Rule(**row) for row in rows]
    except TypeError as error:
        raise ValueError(f"not a fault rule: {error}") from None
