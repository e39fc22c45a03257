"""An order reaches a line behind OPC UA whole or not at all, also over a restart of its server."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agent.errors import ErpRejected, ErpUnavailable
from agent.ports import Kind
from simulators.broker import free_port
from simulators.receivers.node_line import node_line
from tests.conformance.test_told_targets import DISPATCH, frozen, made, opcua

NODE = "ns=line;s={work_center}."
HANDSHAKE = {one: f"{NODE}{one}" for one in ("request", "answer", "refused")}
WRITTEN = {one: f"{NODE}{one}" for one in ("order", "quantity", "sequence")}


def target(port: int, folder: Path, **nodes: str) -> Any:
    return made("line", {"opcua": opcua(port, nodes=WRITTEN | nodes, **HANDSHAKE), "answer_s": 5}, str(folder))


async def test_what_does_not_fit_a_node_is_refused_before_the_line_is_asked(tmp_path: Path):
    """Half a piece into a whole number: a dead letter with the node's name, and the request node stays as it is."""
    port = free_port()
    async with node_line(port, "MIX-01") as line:
        line_target = target(port, tmp_path)
        one = frozen(line_target, Kind.DISPATCH, {**DISPATCH, "sequence": "3.5"})
        with pytest.raises(ErpRejected, match=r"node sequence: 3\.5 does not fit into Int32"):
            await line_target.post(one)
        assert await line.nodes["request"].read_value() == ""
        good = frozen(line_target, Kind.DISPATCH, DISPATCH, 2)
        await line_target.post(good)
        assert (await line.nodes["quantity"].read_value(), await line.nodes["sequence"].read_value()) == (500.0, 3)
        assert line.taken == [good.idempotency_key]
        await line_target.close()


async def test_a_server_that_was_away_is_reached_again(tmp_path: Path):
    """Away it is unavailable, and a missing node is named; back, the next order is taken, by another session."""
    port = free_port()
    line_target = target(port, tmp_path)
    async with node_line(port, "MIX-01"):
        await line_target.post(frozen(line_target, Kind.DISPATCH, DISPATCH))
    two = frozen(line_target, Kind.DISPATCH, DISPATCH, 2)
    with pytest.raises(ErpUnavailable):
        await line_target.post(two)
    async with node_line(port, "MIX-01") as line:
        await line_target.post(two)
        assert line.taken == [two.idempotency_key]
        missing = frozen(line_target, Kind.DISPATCH, {**DISPATCH, "work_center": "MIX-02"}, 3)
        with pytest.raises(ErpUnavailable, match="MIX-02"):
            await line_target.post(missing)
        await line_target.close()
