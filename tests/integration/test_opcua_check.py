"""What `check --connect` sees of OPC UA servers: what they offer, who trusts whom, which tags are not there."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from agent.sources.opcua_check import missing
from agent.sources.opcua_config import OpcuaConfig
from agent.sources.opcua_security import Certificates
from tests.opcua_bench import TAGS, config, free_port, serving


async def looked(settings: OpcuaConfig, folder: Path) -> list[str]:
    return [line async for line in missing(settings, settings.endpoints[0], Certificates(folder), datetime.now(UTC))]


async def test_a_server_that_has_every_tag_lacks_nothing(tmp_path: Path):
    """Nothing is said where nothing is to be done."""
    port = free_port()
    async with serving(port):
        assert await looked(config(port), tmp_path) == []


async def test_tags_that_are_not_there_are_named(tmp_path: Path):
    """With their address and the reason."""
    port = free_port()
    tags = {**TAGS, "lot": "ns=plc;s=nowhere", "path": "/Objects/plc:Nowhere"}
    async with serving(port):
        assert await looked(config(port, tags=tags), tmp_path) == [
            "tag lot: ns=plc;s=nowhere: BadNodeIdUnknown",
            "tag path: /Objects/plc:Nowhere: no such path (BadNoMatch)",
        ]


async def test_the_steps_of_trust_are_said_one_after_the_other(tmp_path: Path):
    """No certificate yet, then the server's to be trusted, then nothing; none of ours is made by looking."""
    port, own = free_port(), Certificates(tmp_path / "own")
    settings = config(port, policy="basic256sha256")
    async with serving(port, secured=tmp_path / "server"):
        (first,) = await looked(settings, own.folder)
        assert "when the agent first starts" in first
        assert not own.made
        own.own(datetime.now(UTC))
        (second,) = await looked(settings, own.folder)
        assert "is not trusted" in second
        (file,) = own.rejected.iterdir()
        file.rename(own.trusted / file.name)
        assert await looked(settings, own.folder) == []


async def test_a_server_that_is_away_or_offers_less_is_named(tmp_path: Path):
    """What answers, or does not, is said in one line."""
    port = free_port()
    assert await looked(config(port), tmp_path) == ["nothing listens there"]
    async with serving(port):
        said = await looked(config(port, policy="aes256_sha256_rsapss"), tmp_path)
        assert said[-1].endswith("it offers none")


def test_no_protection_is_a_warning():
    """`gatepost check` says it under the source; any other policy is silent."""
    assert "anybody on the way" in config(1).warnings[0]
    assert config(1, policy="basic256sha256").warnings == ()
