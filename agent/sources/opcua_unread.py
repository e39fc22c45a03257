"""A value that cannot be decoded costs the whole answer it is part of: it is noticed, its tag found and left out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds
from asyncua.ua.uaerrors import UaStatusCodeError, UaStructParsingError

from agent.errors import SourceLost
from agent.sources.opcua_connect import plainly, translated

WHY = "its value cannot be decoded; name a node with one plain value"


class Unread(SourceLost):
    """A message of the subscription came and cannot be decoded."""


def notice_unread(client: Client, end: Callable[[SourceLost], None]) -> None:
    """Hear of an answer of the subscription that cannot be decoded: the library asks for the next without a word."""
    session: Any = client.uaclient.session
    publish = session.publish

    async def noticing(acks: Any) -> Any:
        try:
            return await publish(acks)
        except UaStructParsingError as error:
            end(Unread(f"a message of the subscription cannot be decoded: {error.__cause__!r}"))
            raise

    session.publish = noticing


async def undecodable(client: Client, nodes: Mapping[str, ua.NodeId], at_once: int) -> Mapping[str, str]:
    """The tags whose values nobody can decode, and why: what is read together is halved until they are found.

    Raises SourceLost where the server does not answer.
    """
    found: dict[str, str] = {}
    tags = list(nodes)
    parts = [tags[start : start + at_once] for start in range(0, len(tags), at_once)]
    while parts:
        part = parts.pop()
        if await _decodes(client.uaclient.read_attributes([nodes[tag] for tag in part], AttributeIds.Value)):
            continue
        if len(part) == 1:
            found[part[0]] = WHY
        else:
            half = len(part) // 2
            parts += [part[:half], part[half:]]
    return found


async def _decodes(answer: Awaitable[Any]) -> bool:
    try:
        await plainly(answer)
    except (UaStatusCodeError, OSError, TimeoutError) as error:
        raise translated(error, None) from None
    except Exception:  # noqa: BLE001  # what the library raises at bytes that are none of what they should be
        return False
    return True
