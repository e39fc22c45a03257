"""docs/quickstart.md works as it is printed: its shell blocks are run, in their order, beside a real bench."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/quickstart.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"^```sh run ([a-z-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
OWN_SOURCE = yaml.safe_load(re.findall(r"^```yaml source\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
OWN_STORE = yaml.safe_load(re.findall(r"^```yaml store\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)[0])
DEADLINE = 180.0

# What a reader sees at last; `!` before it: what is gone at last. A block that only acts is run once.
SEEN = {
    "status": "everything is accounted for",
    "trace": r"document: 2026/\d+",
    "books": "RM-RESIN",
    "in-doubt": r"(?m)^in_doubt +\d",
    "found": r"!(?m)^in_doubt +\d",
    "waiting": r"(?m)^ready +\d",
    "list": r"expected: \d+ %",
    "show": "because: ",
    "verify": "^ok: ",
    "check": "ok: my-plant/agent.yaml",
    "cases": "ok +consumption-within-limits",
}
ACTS = {"answer", "sap-down", "sap-up", "broker-down", "broker-up", "approve", "copy"}


def seven_free_ports() -> int:
    """The first of seven neighbouring ports that are all free."""
    for first in range(32000, 32700, 7):
        sockets = [socket.socket() for _ in range(7)]
        try:
            for offset, one in enumerate(sockets):
                one.bind(("127.0.0.1", first + offset))
        except OSError:
            continue
        else:
            return first
        finally:
            for one in sockets:
                one.close()
    raise AssertionError("no seven neighbouring ports are free")


class Reader:
    """Somebody with a terminal in a clone of the repository, beside a running bench."""

    def __init__(self, clone: Path, first_port: int) -> None:
        self.clone = clone
        self.first_port = first_port
        self.data = clone / "var/bench"
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "160"}

    def prepare(self) -> None:
        """What a clone and `make run` leave behind, with other ports and a little less patience."""
        shutil.copytree(ROOT / "edge_config", self.clone / "edge_config")
        (self.clone / "models").symlink_to(ROOT / "models")
        config = self.clone / "edge_config/agent.yaml"
        text = config.read_text(encoding="utf-8").replace("settle_s: 10", "settle_s: 8")
        for offset, port in enumerate(("18830", "18800", "18080", "18090")):
            text = text.replace(f":{port}", f":{self.first_port + offset}")
        assert "audit_sample: 0.02" in text
        text = text.replace(
            "audit_sample: 0.02", "audit_sample: 0"
        )  # drawn by chance, it could hold what the page shows
        config.write_text(text, encoding="utf-8")
        programs = self.clone / ".venv/bin"
        programs.mkdir(parents=True)
        for name, command in {"python": "", "gatepost": "-m agent"}.items():
            (programs / name).write_text(f'#!/bin/sh\nexec {sys.executable} {command} "$@"\n', encoding="utf-8")
            (programs / name).chmod(0o755)

    @asynccontextmanager
    async def bench(self) -> AsyncIterator[None]:
        """`make run`, a little faster; returns when the first document is in SAP."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "simulators.bench", "--first-port", str(self.first_port), "--data", str(self.data)),
            *("--agent-config", str(self.clone / "edge_config/agent.yaml")),
            *("--rate", "5", "--misbehave", "double_report,usage_200=0.2"),
            cwd=ROOT,
            stdout=(log := (self.clone / "bench.log").open("wb")),
            stderr=log,
        )
        try:
            await self.until(
                lambda: self.said(r"SAP +material document") or process.returncode is not None, "a document in SAP"
            )
            yield
        finally:
            if process.returncode is None:
                process.terminate()
            code = await asyncio.wait_for(process.wait(), DEADLINE)
            log.close()
        assert code == 0, self.said("")  # not reached when a block has failed: that is told first

    def said(self, pattern: str) -> str:
        text = (self.clone / "bench.log").read_text(encoding="utf-8")
        return text if re.search(pattern, text) else ""

    async def until(self, condition, what: str) -> None:
        try:
            async with asyncio.timeout(DEADLINE):
                while not condition():  # noqa: ASYNC110  another process's file
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"not within {DEADLINE:.0f} s: {what}\n{self.said('')}") from None

    async def run(self, block: str) -> tuple[int, str]:
        """Run a block in the clone; its exit code and what it printed."""
        process = await asyncio.create_subprocess_exec(
            *("sh", "-euc", block), cwd=self.clone, env=self._environment,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        output, _ = await asyncio.wait_for(process.communicate(), DEADLINE)
        assert process.returncode is not None
        return process.returncode, output.decode()

    async def follow(self, name: str) -> None:
        """Run one block of the page; where it shows something, again until that is seen."""
        block = BLOCKS[name].replace(
            "simulators.outage", f"simulators.outage --first-port {self.first_port} --data {self.data}"
        )
        if name in ("show", "approve"):  # the page says: take a number from your own list
            _, listed = await self.run(".venv/bin/gatepost approvals list --json")
            block = block.replace(" 13", f" {json.loads(listed)[0]['id']}")
        if name in ACTS:
            code, output = await self.run(block)
            assert code == 0, f"{name}: {output}\n{self.said('')}"
            return
        gone, wanted = SEEN[name].startswith("!"), SEEN[name].removeprefix("!")
        code, output = 1, ""  # what is not there yet is no failure of the page: a trace may come before its report
        try:
            async with asyncio.timeout(DEADLINE):
                while code or bool(re.search(wanted, output)) is gone or not output:
                    code, output = await self.run(block)
        except TimeoutError:
            raise AssertionError(
                f"{name}: not {SEEN[name]} within {DEADLINE:.0f} s (exit code {code}):\n{output}\n{self.said('')}"
            ) from None


def duplicates(first_port: int) -> object:
    """What SAP's own books say of keys that stand in more than one document."""
    with httpx.Client(trust_env=False) as client:
        return client.get(f"http://127.0.0.1:{first_port + 1}/_sim/books").json()["duplicates"]


@pytest.fixture
def reader(tmp_path: Path) -> Reader:
    one = Reader(tmp_path, seven_free_ports())
    one.prepare()
    return one


def test_every_block_of_the_page_is_run():
    """The test below knows all blocks that are marked, and no others."""
    assert set(BLOCKS) == set(SEEN) | ACTS


async def test_the_quickstart_works_as_printed(reader):
    """Each block, in its order, shows what the page says; SAP has every posting once, the copy has its own store."""
    names = list(BLOCKS)
    async with reader.bench():
        for name in names[: names.index("copy")]:
            await reader.follow(name)
        assert not duplicates(reader.first_port)
    await reader.follow("copy")
    own = reader.clone / "my-plant/agent.yaml"
    config = yaml.safe_load(own.read_text(encoding="utf-8"))
    config["store"] |= OWN_STORE["store"]
    config["sources"][0] = OWN_SOURCE[0]
    config["authority"] = {"consumption": {"mode": "advise"}, "confirmation": {"mode": "advise"}}
    assert (own.parent / config["store"]["path"]).resolve().parent != reader.data
    own.write_text(yaml.safe_dump(config), encoding="utf-8")
    for name in names[names.index("copy") + 1 :]:
        await reader.follow(name)
