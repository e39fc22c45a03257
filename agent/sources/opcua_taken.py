"""What the events took last of each tag: kept with their checkpoint, so that a gap has a beginning after a restart."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from agent.sources.opcua_address import Address
from agent.sources.opcua_history import Group
from agent.tags.counting import frozen, thawed
from agent.tags.values import Change, Quality, TagValue


class Last(NamedTuple):
    """The last value that the events took of a tag, and in which session."""

    value: TagValue
    session: int


class Taken:
    """The last values of all tags whose history may be asked for, by the groups of events that need it."""

    def __init__(self, groups: Sequence[Group], addresses: Mapping[str, Address]) -> None:
        self.session = 0
        self._of: dict[str, Last] = {}
        self._tags = frozenset(tag for group in groups for tag in group.tags)
        self._groups = {_fingerprint(group, addresses): group for group in groups}
        self._written: dict[str, str] = {}  # tag → its part of the checkpoint
        self._moved: set[str] = set()

    def __getitem__(self, tag: str) -> Last:
        return self._of[tag]

    def __contains__(self, tag: object) -> bool:
        return tag in self._of

    def __bool__(self) -> bool:
        return bool(self._of)

    def note(self, moment: Sequence[Change]) -> None:
        """The events take these values now."""
        for tag, value, _ in moment:
            if tag in self._tags:
                self._of[tag] = Last(value, self.session)
                self._moved.add(tag)

    def forget(self, tag: str) -> None:
        """What comes later cannot be told from what was before."""
        self._of.pop(tag, None)
        self._moved.add(tag)

    def kept(self) -> str:
        """For the checkpoint: JSON."""
        for tag in self._moved:
            last = self._of.get(tag)
            if last is None:
                self._written.pop(tag, None)
            else:
                (value, quality, at), session = last
                part = json.dumps([frozen(value), quality, at.isoformat(), session], separators=(",", ":"))
                self._written[tag] = f"{json.dumps(tag)}:{part}"
        self._moved.clear()
        return f'{{"groups":{json.dumps(list(self._groups))},"tags":{{{",".join(self._written.values())}}}}}'

    def recall(self, kept: Any) -> None:
        """From the checkpoint, of what is declared now as it was then. Raises ValueError when it cannot be read."""
        try:
            known = [self._groups[one] for one in kept["groups"] if one in self._groups]
            tags = {tag for group in known for tag in group.tags} & kept["tags"].keys()
            of = {tag: _last(*kept["tags"][tag]) for tag in tags}
        except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        self._of, self._moved = of, set(of)
        self.session = max((last.session for last in of.values()), default=0)


def _last(value: Any, quality: str, at: str, session: int) -> Last:
    return Last(TagValue(thawed(value), Quality(quality), datetime.fromisoformat(at)), int(session))


def _fingerprint(group: Group, addresses: Mapping[str, Address]) -> str:
    """Another one as soon as something else is declared: what was taken then is no beginning for what is made now."""
    declared = [event.model_dump_json() for event in group.events]
    places = [(tag, str(addresses[tag])) for tag in sorted(group.tags)]
    return hashlib.sha256(repr((declared, places)).encode()).hexdigest()[:16]
