"""Whether the host application that an edge node depends on is online, by what it says as its STATE."""

from __future__ import annotations

from agent.sparkplug.host import read_state
from agent.sparkplug.names import state_topic


class PrimaryHost:
    """One host, as heard in one connection to a broker."""

    def __init__(self, host_id: str) -> None:
        self.topic = state_topic(host_id)
        self.online = False
        self._stamp = -1

    def heard(self, payload: bytes) -> None:
        """What it says counts unless it is older than what it said before: a late will of an earlier connection."""
        online, stamp = read_state(payload)
        if online is None or not isinstance(stamp, int) or stamp < self._stamp:
            return
        self.online, self._stamp = online, stamp
