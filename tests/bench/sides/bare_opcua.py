"""A bare client of the same library: subscribes to the same tags in the same way, and only counts the changes."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from asyncua import ua
from asyncua.client.client import Client
from asyncua.ua.attribute_ids import AttributeIds

from tests.bench.sides import Stopwatch, arguments, tell
from tests.bench.sides.live import until
from tests.bench.sides.opcua_server import NAMESPACE

AT_ONCE, PUBLISHING_MS, QUEUE = 1000, 100, 100


async def main(url: str, tags: int, rounds: int, **_: Any) -> None:
    """Count until every change of the flood has come; the clock runs from its first message."""
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    counted, watch = 0, Stopwatch()

    def told(result: ua.PublishResult) -> None:
        nonlocal counted, watch
        before = counted
        for part in result.NotificationMessage.NotificationData or ():
            if isinstance(part, ua.DataChangeNotification):
                counted += len(part.MonitoredItems)
        if before == tags < counted:
            watch = Stopwatch()

    async with Client(url, timeout=60) as client:
        index: Any = await client.get_namespace_index(NAMESPACE)
        asked: Any = ua.CreateSubscriptionParameters(
            RequestedPublishingInterval=PUBLISHING_MS,
            RequestedLifetimeCount=300,
            RequestedMaxKeepAliveCount=10,
            MaxNotificationsPerPublish=AT_ONCE,
            PublishingEnabled=True,
        )
        made = await client.uaclient.create_subscription(asked, told)
        for first in range(0, tags, AT_ONCE):
            items: Any = [_item(number, index) for number in range(first, min(tags, first + AT_ONCE))]
            wanted = ua.CreateMonitoredItemsParameters(made.SubscriptionId, ua.TimestampsToReturn.Both, items)
            await client.uaclient.create_monitored_items(wanted)
        await until(lambda: counted >= tags * (rounds + 1), "all changes have come")
        figures = watch.read()
    changes = tags * (rounds - 1)
    tell({"per_s": changes / figures["seconds"], "changes": changes, **figures})


def _item(number: Any, index: Any) -> ua.MonitoredItemCreateRequest:
    size: Any = QUEUE
    return ua.MonitoredItemCreateRequest(
        ItemToMonitor=ua.ReadValueId(NodeId=ua.NodeId(ua.String(f"t{number}"), index), AttributeId=AttributeIds.Value),
        MonitoringMode=ua.MonitoringMode.Reporting,
        RequestedParameters=ua.MonitoringParameters(ClientHandle=number + 1, QueueSize=size, DiscardOldest=True),
    )


if __name__ == "__main__":
    asyncio.run(main(**arguments()))
