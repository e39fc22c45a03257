"""A line behind an OPC UA server: its nodes are written and the handshake waited for, or its method is called.

Nodes: what the order says first, then the `request` node gets the id; the line copies it into the `answer` node when it
has taken the order. A repetition writes the same id, and what the answer node names already is not written again.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from pydantic import Field, model_validator

from agent.errors import ErpInDoubt, ErpRejected, ErpUnavailable, SourceLost
from agent.line.order import SENT
from agent.line.values import variant
from agent.ports import Clock
from agent.sources.opcua_address import parse
from agent.sources.opcua_config import OpcuaConnection, Sampling
from agent.sources.opcua_connect import asked, connect
from agent.sources.opcua_security import Certificates
from agent.sources.opcua_session import Session
from agent.sources.opcua_values import status_name
from agent.strict.schema import Name, Settings

HERE: Final = "{work_center}"
REQUEST, ANSWER, REFUSED, OBJECT, METHOD = "request", "answer", "refused", "object", "method"
_KINDS: Final[Mapping[Any, ua.VariantType]] = {
    kind.value: kind for kind in ua.VariantType
}  # by their node in namespace 0


class MethodConfig(Settings):
    """A method that takes an order."""

    object: str = Field(description="Address of the object that has it")
    method: str = Field(description="Address of the method")
    arguments: tuple[str, ...] = Field(min_length=1, description=f"What its arguments get: {', '.join(SENT)}")


class NodesConfig(OpcuaConnection):
    """Where the line takes orders. In every address `{work_center}` stands for the work centre."""

    name: Name = Field(default="line", description="How it calls itself at the server")
    nodes: Mapping[str, str] = Field(default={}, description=f"What → the node that gets it: {', '.join(SENT)}")
    request: str | None = Field(default=None, description="The text node that gets the id, last of all")
    answer: str | None = Field(
        default=None,
        description="The text node into which the line copies the id; absent: that it was written is enough",
    )
    refused: str | None = Field(
        default=None, description="The text node where the line says why it does not take this order; empty: it does"
    )
    method: MethodConfig | None = Field(default=None, description="A method instead of nodes; its Good is the answer")

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.method is None) == (self.request is None):
            raise ValueError("name either a method, or nodes with a request node")
        if self.method is not None and (self.nodes or self.answer or self.refused):
            raise ValueError("a method answers by itself; leave out nodes, answer and refused")
        if self.refused is not None and self.answer is None:
            raise ValueError("refused needs answer: before it nobody knows whether the line has looked")
        named = (*self.nodes, *(self.method.arguments if self.method else ()))
        wrong = [f"{one!r} is nothing that is sent; that is {', '.join(SENT)}" for one in named if one not in SENT]
        wrong += [f"{what}: {why}" for what, why in self.unread(self.written("x"))]
        if wrong:
            raise ValueError("; ".join(wrong[:20]))
        return self

    def written(self, work_center: str) -> dict[str, str]:
        """What → its address at this work centre."""
        found = {f"node {what}": text for what, text in self.nodes.items()}
        handshake = {REQUEST: self.request, ANSWER: self.answer, REFUSED: self.refused}
        found |= {what: text for what, text in handshake.items() if text is not None}
        if self.method is not None:
            found |= {OBJECT: self.method.object, METHOD: self.method.method}
        return {what: text.replace(HERE, work_center) for what, text in found.items()}


class _Open(NamedTuple):
    """A session, with what was found in it."""

    client: Client
    session: Session
    places: dict[str, _Place]


class _Place(NamedTuple):
    """The nodes of one work centre, and what they want to be written."""

    nodes: Mapping[str, ua.NodeId]
    kinds: Mapping[str, ua.VariantType]


class Nodes:
    """Writes orders into an OPC UA server, one after the other at each work centre."""

    def __init__(self, config: NodesConfig, answer_s: float, folder: Path, clock: Clock) -> None:
        self.config = config
        self._answer_s = answer_s
        self._certificates = Certificates(config.certificates or folder)
        self._clock = clock
        self._open: _Open | None = None
        self._one_opens = asyncio.Lock()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._told: dict[str, Any] = {}  # work centre → what its answer node says
        self._news = asyncio.Event()

    async def send(self, told: Mapping[str, str]) -> tuple[str, ...]:
        """Returns what people should know. Raises ErpUnavailable, ErpInDoubt, ErpRejected."""
        place = told["work_center"]
        async with self._turns[place]:
            try:
                opened, found = await self._place(place)
                values = self._values(told, found)
            except SourceLost as error:
                raise await self._lost(error) from None
            if self.config.method is not None:
                return await self._called(opened, found, values)
            await self._written(opened, found, told, values)
            return ()

    async def taken(self, told: Mapping[str, str]) -> bool:
        """Whether the answer node names it. Raises ErpUnavailable."""
        if self.config.answer is None:
            return False
        try:
            opened, found = await self._place(told["work_center"])
            return await self._answered(opened, found) == told["id"] and not await self._refusal(opened, found)
        except SourceLost as error:
            raise await self._lost(error) from None

    async def close(self) -> None:
        """Leave the server."""
        opened, self._open = self._open, None
        if opened is not None:
            await opened.session.close()

    # ── the session ─────────────────────────────────────────────────────────────────────────────────────────

    async def reach(self) -> None:
        """Connect, unless it is. Raises ErpUnavailable."""
        try:
            await self._session()
        except SourceLost as error:
            raise await self._lost(error) from None

    async def _session(self) -> _Open:
        """The session, alive a moment ago; a new one where it is not. Raises SourceLost."""
        async with self._one_opens:
            if self._open is not None:
                try:
                    if (await self._open.session.health()).active and not self._open.session.broken.done():
                        return self._open
                except (SourceLost, TimeoutError):
                    pass
                await self.close()
            failed = []
            for url in self.config.endpoints:
                try:
                    self._open = await self._entered(url)
                except (SourceLost, TimeoutError) as error:
                    failed.append(f"{url}: {error}")
                else:
                    return self._open
            raise SourceLost("; ".join(failed))

    async def _entered(self, url: str) -> _Open:
        connected = await connect(self.config, url, self._certificates, self._clock())
        session = Session(connected.client, self.config)
        try:
            await session.prepare()
            if not (await session.health()).active:
                raise SourceLost("is not the active one")
            if self.config.answer is not None:
                await session.subscribe(self._heard)
                session.ready.set()
        except BaseException:
            await session.close()
            raise
        return _Open(connected.client, session, {})

    async def _lost(self, error: SourceLost) -> ErpUnavailable:
        return ErpUnavailable(f"OPC UA: {error}", scope="lane")

    async def _place(self, work_center: str) -> tuple[_Open, _Place]:
        """Its nodes, looked for once in a session. Raises SourceLost."""
        opened = await self._session()
        if (known := opened.places.get(work_center)) is not None:
            return opened, known
        addresses = {
            what: parse(text, self.config.namespaces) for what, text in self.config.written(work_center).items()
        }
        if absent := await opened.session.absent(addresses):
            raise SourceLost("; ".join(f"{what}: {addresses[what]}: {why}" for what, why in absent.items()))
        found = await opened.session.find(addresses)
        place = _Place(found.nodes, await self._kinds(opened, found.nodes))
        if ANSWER in found.nodes:
            sampling = Sampling(self.config.publishing_ms, 10)
            refused = await opened.session.watch({work_center: found.nodes[ANSWER]}, lambda _: sampling)
            if refused:
                raise SourceLost(f"{ANSWER}: {refused[work_center]}")
        opened.places[work_center] = place
        return opened, place

    async def _kinds(self, opened: _Open, nodes: Mapping[str, ua.NodeId]) -> dict[str, ua.VariantType]:
        """What the nodes, or the arguments of the method, want to be written as. Raises SourceLost."""
        if self.config.method is not None:
            return await self._argument_kinds(opened, nodes[METHOD])
        written = {what: node for what, node in nodes.items() if what not in (ANSWER, REFUSED)}
        told = await opened.session.read(written, AttributeIds.DataType)
        return {what: _kind(one.Value.Value if one.Value is not None else None) for what, one in told.items()}

    async def _argument_kinds(self, opened: _Open, method: ua.NodeId) -> dict[str, ua.VariantType]:
        assert self.config.method is not None  # noqa: S101  # asked by whoever has one
        try:
            property_ = await asked(opened.client.get_node(method).get_child("0:InputArguments"))
            arguments: Sequence[Any] = await asked(property_.read_value())
        except SourceLost as error:
            raise SourceLost(f"{METHOD}: its arguments cannot be read: {error}") from None
        wanted = self.config.method.arguments
        if len(arguments) != len(wanted):
            raise SourceLost(f"{METHOD}: takes {len(arguments)} arguments, {len(wanted)} are configured")
        return {f"node {what}": _kind(one.DataType) for what, one in zip(wanted, arguments, strict=True)}

    async def _heard(self, values: Sequence[tuple[str, ua.DataValue]]) -> None:
        for work_center, told in values:
            self._told[work_center] = told.Value.Value if told.Value is not None else None
        self._news.set()

    # ── an order ────────────────────────────────────────────────────────────────────────────────────────────

    def _values(self, told: Mapping[str, str], place: _Place) -> dict[str, ua.DataValue]:
        """What → its value. Raises ErpRejected: it does not fit the node."""
        found = {}
        for what, kind in place.kinds.items():
            text = told["id"] if what == REQUEST else told.get(what.removeprefix("node "), "")
            try:
                found[what] = ua.DataValue(variant(text, kind), StatusCode=None)
            except ValueError as error:
                raise ErpRejected(f"{what}: {error}", code="does_not_fit") from None
        return found

    async def _written(
        self, opened: _Open, place: _Place, told: Mapping[str, str], values: dict[str, ua.DataValue]
    ) -> None:
        request = values.pop(REQUEST)
        try:
            if self.config.answer is not None and await self._answered(opened, place) == told["id"]:
                return await self._require_taken(opened, place)
            await self._write(opened, place, values)
        except SourceLost as error:
            raise await self._lost(error) from None
        try:
            await self._write(opened, place, {REQUEST: request})
            if self.config.answer is not None:
                await self._answer(told)
                await self._require_taken(opened, place)
        except SourceLost as error:
            raise ErpInDoubt(f"OPC UA: requested, but {error}") from None
        return None

    async def _write(self, opened: _Open, place: _Place, values: Mapping[str, ua.DataValue]) -> None:
        """Raises SourceLost; ErpRejected where a node does not take its value."""
        nodes = [place.nodes[what] for what in values]
        codes = await asked(opened.client.uaclient.write_attributes(nodes, list(values.values()))) if nodes else []
        for what, code in zip(values, codes, strict=True):
            if code.value >> 31:
                raise ErpRejected(f"{what}: the server answers {status_name(code.value)}", code=status_name(code.value))

    async def _answer(self, told: Mapping[str, str]) -> None:
        """Wait until the answer node names it. Raises ErpInDoubt."""
        try:
            async with asyncio.timeout(self._answer_s):
                while self._told.get(told["work_center"]) != told["id"]:
                    await self._news.wait()
                    self._news.clear()
        except TimeoutError:
            raise ErpInDoubt(f"requested, but the line has not answered within {self._answer_s:g} s") from None

    async def _answered(self, opened: _Open, place: _Place) -> Any:
        return await self._read(opened, place, ANSWER)

    async def _refusal(self, opened: _Open, place: _Place) -> str:
        return str(await self._read(opened, place, REFUSED) or "").strip() if REFUSED in place.nodes else ""

    async def _require_taken(self, opened: _Open, place: _Place) -> None:
        """Raises ErpRejected: the line has looked at it, and says why it does not take it."""
        if why := await self._refusal(opened, place):
            raise ErpRejected(f"the line refuses it: {why[:300]}", code="line_refused")

    async def _read(self, opened: _Open, place: _Place, what: str) -> Any:
        told = (await opened.session.read({what: place.nodes[what]}, AttributeIds.Value))[what]
        return told.Value.Value if told.Value is not None else None

    async def _called(self, opened: _Open, place: _Place, values: Mapping[str, ua.DataValue]) -> tuple[str, ...]:
        request = ua.CallMethodRequest(
            ObjectId=place.nodes[OBJECT],
            MethodId=place.nodes[METHOD],
            InputArguments=[one.Value for one in values.values() if one.Value is not None],
        )
        try:
            (result,) = await asked(opened.client.uaclient.call([request]))
        except SourceLost as error:
            raise ErpInDoubt(f"OPC UA: called, but {error}") from None
        code = result.StatusCode.value
        if code >> 31:
            raise ErpRejected(f"the method answers {status_name(code)}", code=status_name(code))
        said = [one.Value for one in result.OutputArguments or ()]
        if said and said[0] is False:
            why = str(said[1])[:300] if len(said) > 1 else "without a reason"
            raise ErpRejected(f"the line refuses it: {why}", code="line_refused")
        return ()


def _kind(node: Any) -> ua.VariantType:
    if isinstance(node, ua.NodeId) and node.NamespaceIndex == 0 and node.Identifier in _KINDS:
        return _KINDS[node.Identifier]
    return ua.VariantType.String
