"""An OPC UA server that tells changes as fast as a client asks for them: what it sends was encoded before.

A server of Python would be slower than the clients it is to measure. So this one is asyncua's but for the flood: as
soon as a subscription watches every tag and has told what they are, ready-made messages go out, each with a new value
of every tag, the next one when the client asks for it.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import Any

from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.server import Server

from tests.bench.sides import arguments

NAMESPACE = "urn:gatepost:bench"
LOOK_S = 0.02
ASK_S = 0.0005
PER_FOLDER = 200
PAUSE_S = 0.5  # between the first values and the flood
_ITEM = struct.Struct("<IBBIqq")  # client handle; which parts follow; data type, value; both times
_VALUE_AND_TIMES, _UINT32, _DATA_CHANGE = 0x0D, 7, 811
_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)


async def main(port: int, tags: int, rounds: int) -> None:
    """Serve until it is ended; every subscription to all tags gets its own flood of `rounds` messages."""
    logging.getLogger("asyncua").setLevel(logging.ERROR)
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}/bench")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index: Any = await server.register_namespace(NAMESPACE)
    for number in range(tags):
        if number % PER_FOLDER == 0:  # asyncua looks through all children of a folder for every new one
            folder = await server.nodes.objects.add_folder(index, f"from {number}")
        id = ua.NodeId(ua.String(f"t{number}"), index)
        await folder.add_variable(id, f"{index}:t{number}", 0, ua.VariantType.UInt32)
    subscriptions: Any = server.iserver.subscription_service.subscriptions
    flooded: set[int] = set()
    async with server, asyncio.TaskGroup() as floods:
        print("ready", flush=True)
        while True:
            for number, one in list(subscriptions.items()):
                if rounds and number not in flooded and _told_all(one, tags):
                    flooded.add(number)
                    floods.create_task(_flood(one, rounds))
            await asyncio.sleep(LOOK_S)


def _told_all(subscription: InternalSubscription, tags: int) -> bool:
    items = subscription.monitored_item_srv._monitored_items
    return len(items) == tags and not subscription._triggered_datachanges


async def _flood(subscription: InternalSubscription, rounds: int) -> None:
    """Put the messages in the place of what the subscription would tell."""
    items: Any = subscription.monitored_item_srv._monitored_items.values()
    handles = [int(item.client_handle) for item in items]
    start = datetime.now(UTC)
    messages = deque(_message(handles, value, start + timedelta(milliseconds=value)) for value in range(1, rounds + 1))
    await asyncio.sleep(PAUSE_S)

    def told(result: ua.PublishResult) -> None:
        if messages:
            result.NotificationMessage.NotificationData.append(messages.popleft())

    own = subscription.has_published_results
    subscription._pop_triggered_datachanges = told  # type: ignore[method-assign]
    subscription.has_published_results = lambda: bool(messages) or own()  # type: ignore[method-assign]
    while messages:
        await subscription.publish_results()
        await asyncio.sleep(ASK_S)


def _message(handles: list[int], value: int, at: datetime) -> ua.ExtensionObject:
    """A DataChangeNotification with this value of every item, as it goes over the wire (OPC 10000-6, 5.2)."""
    time = int((at - _EPOCH).total_seconds() * 1_000_000) * 10
    items = b"".join(_ITEM.pack(one, _VALUE_AND_TIMES, _UINT32, value, time, time) for one in handles)
    body: Any = struct.pack("<i", len(handles)) + items + struct.pack("<i", -1)
    number: Any = _DATA_CHANGE
    return ua.ExtensionObject(TypeId=ua.FourByteNodeId(number), Body=body)


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
