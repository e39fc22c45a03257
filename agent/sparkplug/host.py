"""What we say of ourselves as a Sparkplug host application: online or not, kept by the broker, by will if we die.

Edge nodes that have us as their primary host keep their data while we are offline. All that is said of one connection
carries the time of that connection, so that nodes can tell a late will from what holds now.
"""

from __future__ import annotations

import json
from datetime import datetime

from agent.ports import Notice
from agent.sparkplug.commands import milliseconds
from agent.sparkplug.names import state_topic


class Host:
    """The STATE of one host id. `topic` is where it stands, and where it is listened to as well."""

    def __init__(self, host_id: str) -> None:
        self.topic = state_topic(host_id)
        self.said: bool | None = None  # in this connection, and nobody has contradicted since
        self._id = host_id
        self._stamp = 0
        self._told_of_second = False

    def connecting(self, now: datetime) -> bytes:
        """A connection is about to be made: its will."""
        self._stamp = max(milliseconds(now), self._stamp + 1)  # nodes believe no state that is older than another
        self.said, self._told_of_second = None, False
        return self._state(online=False)

    def say(self, *, online: bool) -> bytes | None:
        """What must be published for this to be known; None: it is."""
        if self.said is online:
            return None
        self.said = online
        return self._state(online=online)

    def leaving(self, now: datetime) -> bytes:
        """The end of a connection that is no accident."""
        self._stamp = max(milliseconds(now), self._stamp)
        self.said = False
        return self._state(online=False)

    def heard(self, payload: bytes) -> Notice | None:
        """What somebody, mostly we ourselves, said of us. Where it says that we are offline it must be said again."""
        online, stamp = read_state(payload)
        if online is not True:
            if self.said:
                self.said = None
            return None
        if stamp == self._stamp or self._told_of_second:
            return None
        self._told_of_second = True
        return Notice("second_host", {"host_id": self._id, "timestamp": stamp, "ours": self._stamp})

    def _state(self, *, online: bool) -> bytes:
        return json.dumps({"online": online, "timestamp": self._stamp}).encode()


def read_state(payload: bytes) -> tuple[bool | None, object]:
    """Whether a STATE says online, and since when; None for what says nothing."""
    try:
        said = json.loads(payload)
    except (ValueError, RecursionError):
        return None, None
    if not isinstance(said, dict) or not isinstance(said.get("online"), bool):
        return None, None
    return said["online"], said.get("timestamp")
