"""The agent posts under the restrictions of its container: no root, no rights, nothing writable but its data."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from simulators.broker import Broker, find_mosquitto, free_port
from simulators.children import Child
from simulators.scenario import load

HOUSE = Path(__file__).resolve().parents[2]
JAIL = Path(__file__).with_name("jail.sh")
USER = 10001
PATIENCE = 90.0  # seconds; a deadline for a condition, not a wait

TOOLS = ("unshare", "setpriv", "chroot", "mount")


def can_unshare() -> bool:
    """Whether mounts can be made apart: not in a plain chroot, whose root is no mount point."""
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode == 0


pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a read-only root"),
    pytest.mark.skipif(not all(map(shutil.which, TOOLS)), reason=f"needs {', '.join(TOOLS)}"),
    pytest.mark.skipif(
        os.geteuid() == 0 and shutil.which("unshare") is not None and not can_unshare(),
        reason="`unshare --mount` does not work here, as in a chroot or in a container without SYS_ADMIN",
    ),
]
needs_the_agent = pytest.mark.skipif(
    not all(
        (HOUSE / part).exists() for part in ("agent/cli.py", "edge_config/agent.yaml", "simulators/erp/__main__.py")
    ),
    reason="agent, its configuration or the simulated SAP is not there yet",
)


@dataclass(frozen=True, slots=True)
class Box:
    """Folders that only the jail's user may write, outside of pytest's own, which nobody else may enter."""

    root: Path
    data: Path
    secrets: Path
    config: Path

    def command(self, *program: str) -> list[str]:
        """The command line that runs a program inside."""
        places = (self.root, self.data, self.secrets, self.config)
        return ["unshare", "--mount", str(JAIL), *map(str, places), *folders(), "--", *program]


def folders() -> list[str]:
    """What the program is made of: the system, Python, and the house last; what lies in another one is left out."""
    system = ["/usr", "/etc", *(f"/{name}" for name in ("bin", "lib", "lib64", "sbin") if Path("/", name).exists())]
    for place in (Path(sys.base_prefix), Path(sys.prefix)):
        if not any(place.is_relative_to(known) for known in (*system, str(HOUSE))):
            system.append(str(place))
    return [*system, str(HOUSE)]


@pytest.fixture
def box() -> Iterator[Box]:
    """A box with an empty data folder and one secret."""
    with tempfile.TemporaryDirectory(prefix="gatepost-box-") as name:
        made = Box(*(Path(name, part) for part in ("root", "data", "secrets", "agent.yaml")))
        for folder in (made.root, made.data, made.secrets):
            folder.mkdir()
        os.chown(made.data, USER, USER)
        yield made


TRY_EVERYTHING = """
import json, os, subprocess, sys
from pathlib import Path

def outcome(attempt):
    try:
        attempt()
        return "done"
    except OSError as error:
        return error.strerror

places = ["/", "/etc", "/usr", "/run/secrets", "/dev", "/tmp", "/data", *sys.argv[1:]]
written = {place: outcome(lambda: Path(place, "written").write_text("x")) for place in places}
script = Path("/data/script"); script.write_text("#!/bin/sh\\n"); script.chmod(0o755)
status = dict(line.split(":\\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\\t" in line)
print(json.dumps({
    "written": written,
    "writable_mounts": [place for place in places if not os.statvfs(place).f_flag & os.ST_RDONLY],
    "executed": outcome(lambda: subprocess.run(["/data/script"], check=True)),
    "became_root": outcome(lambda: os.setuid(0)),
    "user": os.getuid(), "capabilities": status["CapEff"], "bounding": status["CapBnd"], "no_new": status["NoNewPrivs"],
}))
"""


def test_the_jail_holds(box):
    """Inside, only /data and /tmp can be written, nothing there can be executed, and no right can be regained."""
    run = subprocess.run(
        box.command(sys.executable, "-c", TRY_EVERYTHING, str(HOUSE), sys.prefix),
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    found = json.loads(run.stdout)
    assert {place for place, outcome in found["written"].items() if outcome == "done"} == {"/data", "/tmp"}
    assert set(found["writable_mounts"]) == {"/data", "/tmp"}
    assert (found["executed"], found["became_root"]) == ("Permission denied", "Operation not permitted")
    assert (found["user"], found["no_new"].strip()) == (USER, "1")
    assert int(found["capabilities"], 16) == int(found["bounding"], 16) == 0
    assert (box.data / "written").stat().st_uid == USER


@needs_the_agent
async def test_the_agent_posts_a_document_without_any_right(box, tmp_path):
    """On a read-only root, as an ordinary user without rights, a report becomes a document in SAP."""
    scenario = load(None)
    ports = {number: free_port() for number in (scenario.bench.erp_http, scenario.bench.api, scenario.bench.management)}
    password = secrets.token_urlsafe(16)
    secret = box.secrets / "erp_password"
    secret.write_text(password)
    os.chown(secret, USER, USER)
    secret.chmod(0o400)
    books, truth = tmp_path / "books.jsonl", tmp_path / "truth.jsonl"
    environment = {**os.environ, scenario.bench.erp_password_env: password}
    clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "GATEPOST_DATA": "/data", "PYTHONDONTWRITEBYTECODE": "1"}

    def child(name: str, command: Sequence[str], env: dict[str, str]) -> Child:
        return Child(name, command, log=tmp_path / f"{name}.log", env=env, folder=HOUSE)

    def module(*words: str) -> list[str]:
        return [sys.executable, "-m", *words]

    async with Broker(tmp_path / "broker", executable=find_mosquitto()) as broker:
        write_config(box.config, ports | {scenario.bench.broker: broker.port})
        http = str(ports[scenario.bench.erp_http])
        sap = child("sap", module("simulators.erp", "--http", http, "--books", str(books)), environment)
        agent = child("agent", box.command(*module("agent", "run", "edge_config/agent.yaml")), clean)
        where = f"127.0.0.1:{broker.port}"
        line = child(
            "line", module("simulators.line", "--broker", where, "--truth", str(truth), "--events", "20"), environment
        )
        async with sap, agent:
            management = f"http://127.0.0.1:{ports[scenario.bench.management]}"
            await agent.until(answers(f"{management}/ready"), PATIENCE)
            assert rights(agent.pid) == {"Uid": str(USER), "CapEff": "0" * 16, "NoNewPrivs": "1"}
            async with line:
                await agent.until(has_lines(books), PATIENCE)
    assert {path.stat().st_uid for path in box.data.rglob("*")} == {USER}


def write_config(path: Path, ports: dict[int, int]) -> None:
    """The agent's own configuration on other ports."""
    text = (HOUSE / "edge_config" / "agent.yaml").read_text(encoding="utf-8")
    for number, free in ports.items():
        text = text.replace(f":{number}", f":{free}")
    path.write_text(text, encoding="utf-8")


def answers(url: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            async with httpx.AsyncClient(trust_env=False) as client:
                return (await client.get(url, timeout=2)).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    return ready


def has_lines(path: Path) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        return await asyncio.to_thread(lambda: path.exists() and path.stat().st_size > 0)

    return ready


def rights(pid: int) -> dict[str, str]:
    """What the kernel says about a process."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    found = {name: rest.split()[0] for name, _, rest in (line.partition(":") for line in lines) if rest.split()}
    return {name: found[name] for name in ("Uid", "CapEff", "NoNewPrivs")}
