"""The command line beside a running agent: real processes, the real API, signals and exit codes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat

from simulators.broker import free_port
from tests.command_line import filled

HOUSE = Path(__file__).resolve().parents[2]
DEADLINE_S = 60.0
CONFIG = """\
sources: [{name: reports, kind: http}]
targets:
  - name: s4
    kind: sap_s4
    url: http://127.0.0.1:CLOSED
    time_zone: Europe/Berlin
    auth: {kind: basic, user: GATEPOST, password: {secret: erp_password}}
    postings: {goods_issue: live, confirmation: live, reversal: live}
workflows:
  consumption: {target: s4}
  confirmation: {target: s4}
authority:
  consumption: {mode: auto}
api: {address: "127.0.0.1:PORT"}
log: {format: text}
"""


def environment(config: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GATEPOST_")}
    return {**kept, "GATEPOST_CONFIG": str(config), "GATEPOST_SECRET_ERP_PASSWORD": "welcome1"}


def command(config: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """One command as a person runs it."""
    line = [sys.executable, "-m", "agent", *words]
    return subprocess.run(
        line, cwd=HOUSE, env=environment(config), capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def until(condition, what: str) -> None:
    """Wait for a condition, with a deadline."""
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


class Running:
    """An agent's process and its log."""

    def __init__(self, config: Path) -> None:
        self.config = config
        self.log = config.parent / "agent.log"
        with self.log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "agent", "run", str(config)], cwd=HOUSE, env=environment(config), stderr=stream
            )

    def said(self, text: str, times: int = 1) -> bool:
        return self.log.read_text().count(text) >= times

    def answers(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        return "ready" in command(self.config, "status").stdout.splitlines()[0].partition(":")[2]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A store with something in every state, a configuration without a broker, and an ERP that is away."""
    shutil.copytree(HOUSE / "edge_config" / "masterdata", tmp_path / "masterdata")
    (tmp_path / "mappings").mkdir()
    for kind in ("confirmation", "consumption"):  # what its workflows read
        shutil.copy(HOUSE / "edge_config" / "mappings" / f"{kind}.yaml", tmp_path / "mappings")
    shutil.copy(HOUSE / "edge_config" / "units.yaml", tmp_path)
    (tmp_path / "models").mkdir()
    return filled(tmp_path, CONFIG.replace("CLOSED", str(free_port())).replace("PORT", str(free_port())))


@pytest.fixture
def running(config: Path) -> Iterator[Running]:
    agent = Running(config)
    try:
        until(lambda: agent.said("ready"), "the agent is not ready")
        until(agent.answers, "the API does not answer")
        yield agent
    finally:
        agent.process.kill()
        agent.process.wait()


def test_acts_go_through_the_agent_that_runs(running):
    """Acts are done by the running agent, named after who typed them; lists and traces show them at once."""
    config = running.config
    for words, shown in (
        (["approvals", "approve", "3", "--by", "Jo"], "posting 3 is now ready (by Jo via operator"),
        (["deadletter", "document", "5", "2026/1"], "posting 5 is now acknowledged"),
        (["pause", "line", "mixing"], "line mixing paused"),
        (["resume", "line", "mixing"], "line mixing goes on"),
        (["quarantine", "replay", "2"], "event 2 is now undecided"),
    ):
        ran = command(config, *words, "--reason", "looked into it")
        assert (ran.returncode, ran.stderr) == (0, ""), words
        assert shown in ran.stdout
    late = command(config, "approvals", "refuse", "3", "--reason", "late")
    assert late.returncode == 1
    assert "posting 3 was already decided by Jo via operator: approved on " in late.stderr
    assert command(config, "resume", "line", "mixing", "--reason", "x").returncode == 1
    assert "approved posting 3 by Jo via operator" in command(config, "trace", "posting:3").stdout
    told = json.loads(command(config, "status", "--json").stdout)
    assert told["agent"]["running"] is True
    assert "s4" in told["targets"]


def test_one_store_has_one_agent(running, tmp_path):
    """A second agent, a restore and a rescue are refused with exit code 3 while one runs; a backup is not."""
    config = running.config
    backup = command(config, "backup", str(tmp_path / "copy.db"))
    assert backup.returncode == 0, backup.stderr
    for words in (
        ["run", str(config)],
        ["restore", str(tmp_path / "copy.db"), "-y"],
        ["recover", "-y", "--reason", "x"],
    ):
        ran = command(config, *words)
        assert ran.returncode == 3, words
        assert "Traceback" not in ran.stderr
        assert "in use by another agent" in ran.stderr


def test_an_agent_that_cannot_be_asked_is_no_reason_to_go_round_it(running):
    """With the wrong token, or at an address where nobody answers, nothing is changed and the reason is told."""
    config = running.config
    (config.parent / "wrong").write_text("not the token")
    refused = command(config, "pause", "line", "mixing", "--reason", "x", "--token-file", str(config.parent / "wrong"))
    assert refused.returncode == 1
    assert "token" in refused.stderr
    other = config.with_name("other.yaml")
    address = next(line for line in config.read_text().splitlines() if line.startswith("api:"))
    other.write_text(config.read_text().replace(address, f'api: {{address: "127.0.0.1:{free_port()}"}}'))
    away = command(other, "pause", "line", "mixing", "--reason", "x", "--config", str(other))
    assert away.returncode == 3
    assert "does not answer" in away.stderr
    assert json.loads(command(config, "status", "--json").stdout)["paused"] == []


def test_hang_up_reloads_and_terminate_stops_calmly(running):
    """SIGHUP takes a right configuration and keeps the old one for a wrong one; SIGTERM is exit code 0."""
    config = running.config
    text = config.read_text()
    config.write_text(text.replace("mode: auto", "mode: nonsense"))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.said("was not reloaded"), "the wrong configuration was not refused")
    config.write_text(text.replace("mode: auto", "mode: assist"))
    running.process.send_signal(signal.SIGHUP)
    until(lambda: running.said("configuration reloaded"), "the right configuration was not taken")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(DEADLINE_S) == 0
    assert "Traceback" not in running.log.read_text()
    assert command(config, "pause", "line", "mixing", "--reason", "now without an agent").returncode == 0


def test_errors_of_the_start_are_sentences(config):
    """A wrong configuration is exit code 2, a corrupt store 4; each is one clear line, none a traceback."""
    store = config.parent / "data" / "gatepost.db"
    store.write_bytes(b"no database" * 1000)
    corrupt = command(config, "run", str(config))
    assert corrupt.returncode == 4
    assert "Traceback" not in corrupt.stderr
    config.write_text(config.read_text().replace("currency: EUR", "currency: EURO"))
    wrong = command(config, "run", str(config))
    assert wrong.returncode == 2
    assert f"{config}:1: plant.currency" in wrong.stderr


@pytest.mark.parametrize("table", ["masterdata", "lane"])
def test_a_damaged_page_is_a_corrupt_store(config, table):
    """A page that only a loop reads, long after the file was opened: exit code 4 and what to do, no traceback."""
    store = config.parent / "data" / "gatepost.db"
    with closing(apsw.Connection(str(store))) as connection:
        page = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).get
        size = connection.pragma("page_size")
    with store.open("r+b") as stream:
        stream.seek((page - 1) * size)
        stream.write(b"\x55" * size)
    ran = command(config, "run", str(config))
    assert ran.returncode == 4, ran.stderr
    assert "gatepost recover" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_second_agent_on_the_same_store_is_refused(running):
    """Exit code 3 and one line, which names the process that has the store."""
    second = command(running.config, "run", str(running.config))
    assert second.returncode == 3
    assert len(second.stderr.splitlines()) == 1
    assert f"process {running.process.pid}" in second.stderr


@pytest.mark.parametrize("section", ["api", "management"])
def test_a_port_that_is_taken_is_one_line(config, section):
    """Exit code 2 with the setting to change; the other tasks of the agent say nothing about it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f'{section}: {{address: "127.0.0.1:{taken.getsockname()[1]}"}}\n'
        lines = [line for line in config.read_text().splitlines() if not line.startswith(f"{section}:")]
        config.write_text("\n".join(lines) + "\n" + address)
        ran = command(config, "run", str(config))
    assert ran.returncode == 2
    assert ran.stderr.count(f"{section}.address: cannot be listened on") == 1
    assert "Traceback" not in ran.stderr


def test_a_certificate_that_is_none_is_one_line(config):
    """`check` names a missing file; at the start garbage in it is exit code 2, and nobody is asked for a passphrase."""
    config.write_text(config.read_text().replace("api: {", "api: {tls: {cert: c.pem, key: c.pem}, "))
    assert "api.tls.cert: there is no such file (c.pem)" in command(config, "check", str(config)).stdout
    locked = Ed25519PrivateKey.generate().private_bytes(
        Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"welcome")
    )
    for content in (b"", b"garbage", locked):
        (config.parent / "c.pem").write_bytes(content)
        ran = command(config, "run", str(config))
        assert ran.returncode == 2
        assert "api.tls: cannot be used" in ran.stderr
        assert "Traceback" not in ran.stderr


def test_check_connect_says_what_does_not_answer(config):
    """An ERP that is away is named; the configuration itself is right, so the exit code is 1."""
    ran = command(config, "check", str(config), "--connect")
    assert ran.returncode == 1
    assert "target s4:" in ran.stdout
    assert not (config.parent / "data" / "kept").exists()
