"""One session with an OPC UA server: its nodes are found by namespace URI, watched, asked and written. Never reused."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from itertools import count
from typing import Any, Final, NamedTuple, TypeVar

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from agent.errors import SourceLost
from agent.sources.opcua_address import Address, NodeAddress, namespaces
from agent.sources.opcua_config import MOST_KEEP_ALIVE_S, OpcuaConnection, Sampling
from agent.sources.opcua_connect import asked, leave, translated
from agent.sources.opcua_past import history_of, history_request
from agent.sources.opcua_security import ServerRefused
from agent.sources.opcua_unread import notice_unread, undecodable
from agent.sources.opcua_values import status_name, variant
from agent.tags.values import Write

KEEP_ALIVE_S: Final = 1.0  # the server says at least so often that it is there
LIFETIME_S: Final = 30.0  # how long it keeps a subscription that nobody asks about
SOONEST_S: Final = 1.0  # between two renewals of the keys, whatever life the server gives them
AT_ONCE: Final = 1000  # nodes in one call, where the server sets no smaller limit
PER_PUBLISH: Final = 1000  # values in one answer: some 20 ms of the event loop
ROOT, HIERARCHICAL, NAMESPACES, STATE, CURRENT_TIME = 84, 33, 2255, 2259, 2258
LIMITS: Final = {"monitor": 11714, "read": 11705, "write": 11707, "translate": 11712}  # operation limits of a server

_TYPES: Final[Mapping[Any, ua.VariantType]] = {
    kind.value: kind for kind in ua.VariantType
}  # by their node in namespace 0

Received = Callable[[Sequence[tuple[str, ua.DataValue]]], Awaitable[None]]
_One = TypeVar("_One")
_Answer = TypeVar("_Answer")


class Gap(SourceLost):
    """A message of the subscription never arrived; a new one tells all values anew."""


class Anew(SourceLost):
    """Nothing is broken: we end the session ourselves, because only a new one tells what we need."""


class Health(NamedTuple):
    """How the server is."""

    state: str  # Running, Suspended, …
    time: datetime | None
    active: bool


class Found(NamedTuple):
    """Which tags have a node, and why the others have none."""

    nodes: Mapping[str, ua.NodeId]
    missing: Mapping[str, str]


class Session:
    """An open session; `broken` ends it with the reason."""

    def __init__(self, client: Client, config: OpcuaConnection) -> None:
        loop = asyncio.get_running_loop()
        self.broken: asyncio.Future[None] = loop.create_future()
        self.heard_at = time.monotonic()  # when the subscription last said something
        self.ready = asyncio.Event()  # what happened before is made up for: values may be taken
        self.watched: dict[str, ua.NodeId] = {}
        self.keep_alive_s = KEEP_ALIVE_S
        self._client = client
        self._config = config
        self._limits = dict.fromkeys(LIMITS, AT_ONCE)
        self._tags: dict[int, str] = {}  # by client handle
        self._handles = count(1)
        self._kinds: dict[str, ua.VariantType] = {}  # of the tags that are written
        self._nodes: dict[str, ua.NodeId] = {}
        self._active: ua.NodeId | None = None
        self._subscription = 0
        self._sequence = 0  # of the last message with values; a subscription begins with 1
        self._receiving = False
        self._received: Received | None = None
        self._renewal = asyncio.create_task(self._renew())
        notice_unread(client, self.end)

    async def close(self) -> None:
        """Leave the server; never raises."""
        self._received = None  # nothing is taken any more
        self.ready.set()
        self._renewal.cancel()
        await asyncio.gather(self._renewal, return_exceptions=True)
        await leave(self._client)
        if self.broken.done():
            self.broken.exception()  # seen
        else:
            self.broken.cancel()

    # ── finding ─────────────────────────────────────────────────────────────────────────────────────────────

    async def prepare(self) -> None:
        """Learn how much the server takes at once, and where it says whether it is the active one."""
        told = await asked(self._client.uaclient.read_attributes(_ids(LIMITS.values()), AttributeIds.Value))
        for name, one in zip(LIMITS, told, strict=False):
            limit = one.Value.Value if one.Value is not None and _good(one.StatusCode) else None
            if isinstance(limit, int) and limit > 0:
                self._limits[name] = min(limit, AT_ONCE)
        address = self._config.active_address()
        if address is not None:
            found = await self.find({"active": address})
            if found.missing:
                raise ServerRefused("server_refused", f"active: {found.missing['active']}")
            self._active = found.nodes["active"]

    async def find(self, addresses: Mapping[str, Address]) -> Found:
        """The node of every tag, by what the server's namespaces are now."""
        index = await self._namespaces()
        nodes: dict[str, ua.NodeId] = {}
        missing: dict[str, str] = {}
        paths: dict[str, ua.BrowsePath] = {}
        for tag, address in addresses.items():
            unknown = sorted(uri for uri in namespaces(address) if uri not in index)
            if unknown:
                missing[tag] = f"the server has no namespace {unknown[0]}"
            elif isinstance(address, NodeAddress):
                nodes[tag] = _node(address.identifier, index[address.namespace])
            else:
                paths[tag] = _path([(index[step.namespace], step.name) for step in address.steps])
        answers = await self._in_parts(
            "translate", list(paths.values()), self._client.uaclient.translate_browsepaths_to_nodeids
        )
        for tag, answer in zip(paths, answers, strict=True):
            target = _target(answer)
            if isinstance(target, str):
                missing[tag] = target
            else:
                nodes[tag] = target
        return Found(nodes, missing)

    async def absent(self, addresses: Mapping[str, Address]) -> Mapping[str, str]:
        """Which tags cannot be read, and why."""
        found = await self.find(addresses)
        read = self._client.uaclient.read_attributes
        told = await self._in_parts("read", list(found.nodes.values()), lambda part: read(part, AttributeIds.NodeClass))
        pairs = zip(found.nodes, told, strict=True)
        unread = {
            tag: status_name(one.StatusCode.value) for tag, one in pairs if one.StatusCode and not _good(one.StatusCode)
        }
        return {**found.missing, **unread}

    async def undecodable(self, nodes: Mapping[str, ua.NodeId]) -> Mapping[str, str]:
        """Which tags have a value that cannot be decoded, and why. Raises SourceLost."""
        return await undecodable(self._client, nodes, self._limits["read"])

    async def _namespaces(self) -> Mapping[str, int]:
        (told,) = await asked(self._client.uaclient.read_attributes(_ids([NAMESPACES]), AttributeIds.Value))
        uris = told.Value.Value if told.Value is not None else None
        if not isinstance(uris, list):
            raise SourceLost("the server does not say its namespaces")
        return {uri: number for number, uri in reversed(list(enumerate(uris))) if isinstance(uri, str)}

    # ── watching ────────────────────────────────────────────────────────────────────────────────────────────

    async def subscribe(self, received: Received) -> None:
        """Begin to listen; `received` gets every value of one message at once, and nothing more until it returns."""
        self._received = received
        interval_s = self._config.publishing_ms / 1000
        keep_alive = max(1, int(min(max(KEEP_ALIVE_S, interval_s), MOST_KEEP_ALIVE_S) / interval_s))
        told = await asked(
            self._client.uaclient.create_subscription(
                ua.CreateSubscriptionParameters(
                    RequestedPublishingInterval=self._config.publishing_ms,
                    RequestedLifetimeCount=max(3 * keep_alive, int(LIFETIME_S / interval_s)),
                    RequestedMaxKeepAliveCount=keep_alive,
                    MaxNotificationsPerPublish=PER_PUBLISH,
                    PublishingEnabled=True,
                ),
                self._published,
            )
        )
        self._subscription = told.SubscriptionId
        self.keep_alive_s = told.RevisedPublishingInterval * told.RevisedMaxKeepAliveCount / 1000
        self.heard_at = time.monotonic()

    async def watch(self, nodes: Mapping[str, ua.NodeId], sampling: Callable[[str], Sampling]) -> Mapping[str, str]:
        """Let the server tell every change of these tags, beginning with what they are now. Returns what it refuses."""
        handles = dict(zip(nodes, self._handles, strict=False))
        self._tags |= {handle: tag for tag, handle in handles.items()}  # before the server may tell the first value
        items = [_item(node, handles[tag], sampling(tag)) for tag, node in nodes.items()]

        async def create(part: list[ua.MonitoredItemCreateRequest]) -> Sequence[ua.MonitoredItemCreateResult]:
            return await self._client.uaclient.create_monitored_items(
                ua.CreateMonitoredItemsParameters(
                    SubscriptionId=self._subscription,
                    TimestampsToReturn=ua.TimestampsToReturn.Both,
                    ItemsToCreate=part,
                )
            )

        answers = await self._in_parts("monitor", items, create)
        self.heard_at = time.monotonic()
        pairs = zip(nodes, answers, strict=True)
        refused = {tag: status_name(one.StatusCode.value) for tag, one in pairs if not _good(one.StatusCode)}
        for tag in refused:
            del self._tags[handles[tag]]  # another search gives it another one
        self.watched |= {tag: node for tag, node in nodes.items() if tag not in refused}
        return refused

    async def _published(self, told: ua.PublishResult) -> None:
        """Every answer of the subscription. The library asks for the next when this returns, and swallows errors."""
        self._receiving = True
        try:
            await self._take(told.NotificationMessage)
        except SourceLost as error:
            self.end(error)
        except Exception as error:  # noqa: BLE001  # a mistake of ours must end the session, not hide in the library
            self.end(SourceLost(f"what the server told could not be taken: {type(error).__name__}: {error}"))
        finally:
            self._receiving = False
            self.heard_at = time.monotonic()

    async def _take(self, message: ua.NotificationMessage) -> None:
        if not message.NotificationData or self._received is None:
            return  # a keep-alive
        number = int(message.SequenceNumber)
        if number != (expected := following(self._sequence)):
            raise Gap(f"message {expected} of the subscription is missing: {number} came")
        self._sequence = number
        values: list[tuple[str, ua.DataValue]] = []
        for part in message.NotificationData:
            if isinstance(part, ua.DataChangeNotification):
                values += [(self._tags[one.ClientHandle], one.Value) for one in part.MonitoredItems]
            elif isinstance(part, ua.StatusChangeNotification):
                raise SourceLost(f"the server ended the subscription: {status_name(part.Status.value)}")
        await self.ready.wait()
        if values and self._received is not None:
            await self._received(values)

    def end(self, error: SourceLost) -> None:
        """This session is of no use any more."""
        if not self.broken.done():
            self.broken.set_exception(error)

    # ── asking and writing ──────────────────────────────────────────────────────────────────────────────────

    async def health(self) -> Health:
        """Ask how the server is. Raises SourceLost where it says nothing, or its subscription no longer does."""
        nodes = _ids([STATE, CURRENT_TIME]) + ([self._active] if self._active is not None else [])
        async with asyncio.timeout(self._config.silent_s):
            told = await asked(self._client.uaclient.read_attributes(nodes, AttributeIds.Value))
        silent = time.monotonic() - self.heard_at
        if self._subscription and not self._receiving and silent > self._config.silent_s + 2 * self.keep_alive_s:
            raise SourceLost(f"the subscription was silent for {silent:.0f} s, without a keep-alive")
        state, now, *active = [one.Value.Value if one.Value is not None else None for one in told]
        name = ua.ServerState(state).name if state in list(ua.ServerState) else str(state)
        return Health(name, now if isinstance(now, datetime) else None, all(one is True for one in active))

    async def read(self, nodes: Mapping[str, ua.NodeId], attribute: AttributeIds) -> dict[str, ua.DataValue]:
        """One attribute of many nodes, with the source's time stamps."""
        read = self._client.uaclient.read_attributes
        told = await self._in_parts("read", list(nodes.values()), lambda part: read(part, attribute))
        return dict(zip(nodes, told, strict=True))

    async def history(self, node: ua.NodeId, begin: datetime, end: datetime, most: int) -> list[ua.DataValue] | str:
        """The raw values of a node in that time, or why they cannot be had."""
        wanted = history_request(begin, end, most + 1)  # one more shows that there are too many
        values: list[ua.DataValue] = []
        told = ua.HistoryReadResult()
        while len(values) <= most:
            params = history_of(node, wanted, told.ContinuationPoint)
            (told,) = await asked(self._client.uaclient.history_read(params))
            if not _good(told.StatusCode):
                return f"its history cannot be read ({status_name(told.StatusCode.value)})"
            values += getattr(told.HistoryData, "DataValues", None) or []
            if not told.ContinuationPoint:
                break
        else:
            if told.ContinuationPoint:
                await asked(
                    self._client.uaclient.history_read(history_of(node, wanted, told.ContinuationPoint, release=True))
                )
        return values if len(values) <= most else f"its history has more than {most} values"

    async def learn_types(self, nodes: Mapping[str, ua.NodeId]) -> None:
        """How the nodes of handshakes want to be written: in the type that they have."""
        self._nodes.update(nodes)
        read = self._client.uaclient.read_attributes
        answers = await self._in_parts("read", list(nodes.values()), lambda part: read(part, AttributeIds.DataType))
        for (tag, _), told in zip(nodes.items(), answers, strict=True):
            kind = told.Value.Value if told.Value is not None else None
            if isinstance(kind, ua.NodeId) and kind.NamespaceIndex == 0 and kind.Identifier in _TYPES:
                self._kinds[tag] = _TYPES[kind.Identifier]

    async def write(self, writes: Sequence[Write]) -> list[tuple[Write, str]]:
        """Write handshakes, in order; returns those that came to nothing, and why."""
        refused: list[tuple[Write, str]] = []
        ready: list[tuple[Write, ua.DataValue]] = []
        for one in writes:
            if one.tag not in self._nodes:
                refused.append((one, "it has no node"))
                continue
            try:
                kind = self._kinds.get(one.tag, ua.VariantType.Boolean if isinstance(one.value, bool) else None)
                ready.append((one, ua.DataValue(variant(one.value, kind or ua.VariantType.Int32), StatusCode=None)))
            except ValueError as error:
                refused.append((one, str(error)))

        async def send(part: list[tuple[Write, ua.DataValue]]) -> Sequence[ua.StatusCode]:
            nodes, values = [self._nodes[one.tag] for one, _ in part], [value for _, value in part]
            return await self._client.uaclient.write_attributes(nodes, values)

        answers = await self._in_parts("write", ready, send)
        pairs = zip(ready, answers, strict=True)
        return refused + [(one, status_name(code.value)) for (one, _), code in pairs if not _good(code)]

    async def _in_parts(
        self, limit: str, items: list[_One], call: Callable[[list[_One]], Awaitable[Sequence[_Answer]]]
    ) -> list[_Answer]:
        """One call after the other, each no larger than the server takes. Raises SourceLost."""
        answers: list[_Answer] = []
        size = self._limits[limit]
        for start in range(0, len(items), size):
            part = items[start : start + size]
            told = await asked(call(part))
            if len(told) != len(part):
                raise SourceLost(f"the server answered {len(told)} of {len(part)} ({limit})")
            answers += told
        return answers

    async def _renew(self) -> None:
        """New keys for the channel before the old ones expire."""
        try:
            while True:
                await asyncio.sleep(max(SOONEST_S, self._client.secure_channel_timeout * 0.75 / 1000))
                await self._client.open_secure_channel(renew=True)
                self._client.uaclient.revolve_security_token()
        except Exception as error:  # noqa: BLE001  # with old keys the session would end later, and nobody know why
            self.end(SourceLost(f"the keys of the channel could not be renewed: {translated(error, None)}"))


def following(sequence: int) -> int:
    """The number of the message after this one; 0 is left out when they begin again."""
    return sequence % 0xFFFFFFFF + 1


def _good(status: ua.StatusCode | None) -> bool:
    return status is None or not status.value >> 31


def _ids(numbers: Any) -> list[ua.NodeId]:
    return [_node(number, 0) for number in numbers]


def _node(identifier: Any, namespace: Any) -> ua.NodeId:
    return ua.NodeId(identifier, namespace)


def _path(steps: Sequence[tuple[Any, Any]]) -> ua.BrowsePath:
    """From the root through hierarchical references of any kind."""
    yes: Any = True
    no: Any = False
    elements = [
        ua.RelativePathElement(
            ReferenceTypeId=_node(HIERARCHICAL, 0),
            IsInverse=no,
            IncludeSubtypes=yes,
            TargetName=ua.QualifiedName(name, namespace),
        )
        for namespace, name in steps
    ]
    return ua.BrowsePath(StartingNode=_node(ROOT, 0), RelativePath=ua.RelativePath(Elements=elements))


def _target(answer: ua.BrowsePathResult) -> ua.NodeId | str:
    """The one node at the end of a path, or why there is none."""
    if not _good(answer.StatusCode):
        return f"no such path ({status_name(answer.StatusCode.value)})"
    ends = {str(one.TargetId): one.TargetId for one in answer.Targets or () if one.RemainingPathIndex == 0xFFFFFFFF}
    if len(ends) != 1:
        return f"the path leads to {len(ends)} nodes; write a node id"
    (target,) = ends.values()
    return ua.NodeId(target.Identifier, target.NamespaceIndex, target.NodeIdType)


def _item(node: ua.NodeId, handle: Any, sampling: Sampling) -> ua.MonitoredItemCreateRequest:
    interval: Any = sampling.interval_ms
    size: Any = sampling.queue_size
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=node, AttributeId=AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(
            ClientHandle=handle, SamplingInterval=interval, QueueSize=size, DiscardOldest=True
        ),
    )
