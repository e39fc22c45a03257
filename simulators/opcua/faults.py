"""What can go wrong with the server on demand: a sentence such as `restart seconds=3 decoys=2`, read and done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta

from asyncua.ua.status_codes import StatusCodes

from simulators.opcua.certificates import EXPIRED, VALID, make_certificate
from simulators.opcua.controller import Controller
from simulators.opcua.server import APPLICATION, LineServer

FAULTS = {
    "restart": "seconds=S [decoys=N]: down for S seconds; N other namespaces before the line's own",
    "reset": "[center=C] [tag=T]: totalisers go to 0, all where none is named",
    "bad": "seconds=S [center=C]: values with a bad status",
    "uncertain": "seconds=S [center=C]: values with an uncertain status",
    "skew": "seconds=S: source times off by S seconds (3600; 0: right again)",
    "missing": "tag=C/T: the server comes back without this tag",
    "certificate": "kind=renewed|expired: the server comes back with another certificate",
    "silence": "seconds=S: nothing is published, though reads are answered",
    "over": "everything is well again",
}


class FaultError(ValueError):
    """A sentence that names no fault, or not enough for one."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong, `after` so many seconds."""

    name: str
    more: Mapping[str, str]
    after: float = 0.0

    @classmethod
    def read(cls, sentence: str) -> Fault:
        """Raises FaultError."""
        name, *words = sentence.split() or [""]
        if name not in FAULTS:
            raise FaultError(f"no fault {name!r}; there are {', '.join(FAULTS)}")
        more = {}
        for word in words:
            key, equals, value = word.partition("=")
            if not equals or key not in ("after", "seconds", "decoys", "center", "tag", "kind"):
                raise FaultError(f"{word!r} in {sentence!r} is not understood: {name} {FAULTS[name]}")
            more[key] = value
        fault = cls(name, more)
        return replace(fault, after=fault.number("after", 0.0))

    def number(self, key: str, default: float) -> float:
        """A number from 0 upward out of the sentence."""
        try:
            found = float(self.more.get(key, default))
        except ValueError:
            found = -1.0
        if not 0 <= found < 1e9:
            raise FaultError(f"{key}={self.more[key]} is no number from 0 upward")
        return found


class Faults:
    """Does them to one server."""

    def __init__(self, line: LineServer, controllers: Mapping[str, Controller]) -> None:
        self._line, self._controllers = line, controllers
        self._acts: Mapping[str, Callable[[Fault], Awaitable[None]]] = {
            "restart": self._restart,
            "reset": self._reset,
            "bad": lambda fault: self._status(fault, StatusCodes.BadDeviceFailure),
            "uncertain": lambda fault: self._status(fault, StatusCodes.UncertainLastUsableValue),
            "skew": self._skew,
            "missing": self._missing,
            "certificate": self._certificate,
            "silence": lambda fault: line.silence(fault.number("seconds", 10)),
            "over": self._over,
        }

    async def strike(self, fault: Fault) -> None:
        """Do it; what has a duration is over when this returns, what has none has begun. Raises FaultError."""
        await asyncio.sleep(fault.after)
        await self._acts[fault.name](fault)

    async def _restart(self, fault: Fault) -> None:
        decoys = int(fault.number("decoys", self._line.settings.decoys))
        await self._line.restart(fault.number("seconds", 3), replace(self._line.settings, decoys=decoys))

    async def _reset(self, fault: Fault) -> None:
        wanted = [fault.more["tag"]] if "tag" in fault.more else []
        chosen = [controller.reset(wanted) for controller in self._of(fault).values()]
        if not any(chosen):
            raise FaultError(f"no totaliser {fault.more.get('tag')!r} there; write for example tag=Made/Good")
        await self._line.say_all()

    async def _status(self, fault: Fault, code: int) -> None:
        centers = list(self._of(fault))
        self._line.wrong.status |= dict.fromkeys(centers, code)
        await self._line.say_all()
        await asyncio.sleep(fault.number("seconds", 10))
        for center in centers:
            self._line.wrong.status.pop(center, None)
        await self._line.say_all()

    async def _skew(self, fault: Fault) -> None:
        self._line.wrong.skew = timedelta(seconds=fault.number("seconds", 3600))

    async def _missing(self, fault: Fault) -> None:
        known = {f"{one.center}/{tag.name}" for one in self._controllers.values() for tag in one.tags}
        if fault.more.get("tag") not in known:
            raise FaultError(f"no tag {fault.more.get('tag')!r}; write for example tag=ASSY-05/Made/Good")
        missing = self._line.settings.missing | {fault.more["tag"]}
        await self._line.restart(fault.number("seconds", 0), replace(self._line.settings, missing=missing))

    async def _certificate(self, fault: Fault) -> None:
        folder, kinds = self._line.settings.certificates, {"renewed": VALID, "expired": EXPIRED}
        if folder is None or fault.more.get("kind") not in kinds:
            raise FaultError(
                "certificate kind=renewed or kind=expired, of a server that was started with --certificates"
            )
        await asyncio.to_thread(make_certificate, folder, APPLICATION, kinds[fault.more["kind"]])
        await self._line.restart(fault.number("seconds", 0))

    async def _over(self, _fault: Fault) -> None:
        wrong, settings = self._line.wrong, self._line.settings
        wrong.status.clear()
        wrong.skew, wrong.silent = timedelta(), False
        if settings.missing:
            await self._line.restart(0, replace(settings, missing=frozenset()))
        await self._line.say_all()

    def _of(self, fault: Fault) -> Mapping[str, Controller]:
        center = fault.more.get("center")
        if center is not None and center not in self._controllers:
            raise FaultError(f"no work centre {center!r}; there are {', '.join(self._controllers)}")
        return self._controllers if center is None else {center: self._controllers[center]}
