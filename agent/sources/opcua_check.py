"""What `check --connect` sees of an OPC UA server: endpoints, trust on both sides, and nodes that are not there."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime

from agent.errors import SourceLost
from agent.sources.opcua_config import OpcuaConfig
from agent.sources.opcua_connect import asked, connect, endpoint_of
from agent.sources.opcua_security import Certificates, days_left
from agent.sources.opcua_session import Session

SHOWN = 20


async def missing(config: OpcuaConfig, url: str, certificates: Certificates, now: datetime) -> AsyncIterator[str]:
    """What has to be mended before this server serves all tags; nothing when it does. Only reads."""
    if config.secured and not certificates.made:
        yield f"our own certificate is made in {certificates.folder} when the agent first starts; then ask again"
        try:
            await asked(endpoint_of(config, url))
        except SourceLost as error:
            yield str(error)
        return
    try:
        connected = await connect(config, url, certificates, now)
    except SourceLost as error:
        yield str(error)
        return
    for whose, expires in connected.expires.items():
        if days_left(expires, now) is not None:
            yield f"{whose} certificate expires on {expires:%Y-%m-%d}"
    session = Session(connected.client, config)
    try:
        await session.prepare()
        absent = await session.absent(config.addresses())
        for tag, why in sorted(absent.items())[:SHOWN]:
            yield f"tag {tag}: {config.tags[tag]}: {why}"
        if len(absent) > SHOWN:
            yield f"and {len(absent) - SHOWN} more tags"
    except SourceLost as error:
        yield str(error)
    finally:
        await session.close()
