"""Why a connection to a broker came to nothing, which broker is tried next, and when."""

from __future__ import annotations

import random
import ssl
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from paho.mqtt.reasoncodes import ReasonCode

from agent.configuration.brokers import Broker, BrokerConnection
from agent.errors import SourceLost

_NOT_AUTHORISED = (0x80, 0x86, 0x87)
_OTHER_VERSION = 0x84


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast the source tries again, in seconds."""

    first: float = 1.0
    most: float = 60.0
    refused: float = 60.0  # after "not authorised", a refused subscription, and a second instance
    takeovers: int = 3  # so many connections that ended within …
    takeover_window: float = 30.0  # … this time, the broker being up throughout, mean a second instance
    slice: float = 0.25  # how long one try to hand over blocks while the intake is full
    idle: float = 1.0  # how long the thread sleeps at most

    def delay(self, rounds: int) -> float:
        """Exponential back-off with full jitter, after `rounds` failed rounds over all brokers."""
        most = min(self.most, self.first * 2.0 ** min(rounds + 1, 16))
        return random.uniform(min(self.first, most), most)  # noqa: S311  # spreads reconnects, keeps no secret


class Retry:
    """Takes the brokers in turn, and tells an outage from a second instance with the same client id."""

    def __init__(self, pace: Pace, brokers: Sequence[Broker], monotonic: Callable[[], float]) -> None:
        self.penalty = 0.0  # seconds to wait in any case: trying again soon would not help
        self._pace = pace
        self._brokers = brokers
        self._monotonic = monotonic
        self._turn = self._rounds = 0
        self._ups: deque[float] = deque(maxlen=pace.takeovers)  # when the last connections were made

    @property
    def broker(self) -> Broker:
        """Whose turn it is."""
        return self._brokers[self._turn % len(self._brokers)]

    def connected(self) -> None:
        """The broker serves: the next outage starts from the shortest delay."""
        self._rounds = 0

    def failed(self, *, refused: bool) -> None:
        """No connection came about: the next broker's turn."""
        self.penalty = self._pace.refused if refused else 0.0
        self._turn += 1
        self._rounds += self._turn % len(self._brokers) == 0
        self._ups.clear()

    def ended(self, up_at: float, *, refused: bool, explained: bool) -> bool:
        """A connection made at `up_at` has ended: the first broker's turn. True where a second instance is likely.

        `explained`: the broker said why, and it was no takeover.
        """
        self.penalty = self._pace.refused if refused else 0.0
        self._turn = self._rounds = 0
        if explained:
            self._ups.clear()
            return False
        self._ups.append(up_at)
        if len(self._ups) < self._pace.takeovers or self._monotonic() - self._ups[0] >= self._pace.takeover_window:
            return False
        self._ups.clear()
        self.penalty = self._pace.refused
        return True

    def wait(self) -> float:
        """Seconds until the next try; 0 where another broker of the list is still to be tried."""
        if self._turn % len(self._brokers) and not self.penalty:
            return 0.0
        return self.penalty or self._pace.delay(self._rounds)


class BrokerRefused(SourceLost):
    """The broker answered, and said no: trying again soon would not help. `action` is its name in the audit trail."""

    def __init__(self, message: str, action: str) -> None:
        super().__init__(message)
        self.action = action


def refusal(message: str, reason: ReasonCode) -> BrokerRefused:
    """What to raise for a reason code that is a failure."""
    if reason.value in _NOT_AUTHORISED:
        return BrokerRefused(f"{message}; check user, password and the access list of the broker", "not_authorised")
    if reason.value == _OTHER_VERSION:
        return BrokerRefused(f'{message}; try `version: "3.1.1"` (or "5") at this source', "refused")
    return BrokerRefused(message, "refused")


def plain(error: OSError, config: BrokerConnection) -> str:
    """One clear line about a connection that could not be made."""
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = error.verify_message.rstrip(". ")
        return f"its certificate is refused: {reason}; check ca_file {config.ca_file} and the host name"
    if isinstance(error, ssl.SSLError):
        return f"no TLS connection: {error.reason or error}; check the certificates and that this is the TLS port"
    if error.filename is not None:
        return f"{error.filename} cannot be read: {error.strerror}; check ca_file, cert_file and key_file"
    return f"{error.strerror or error}; check host, port and network"
