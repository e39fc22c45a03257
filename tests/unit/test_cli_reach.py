"""What a person is told when the agent cannot be reached, or when several things went wrong at once."""

from __future__ import annotations

import fcntl
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent import cli
from agent.errors import ConfigError, Finding, GatepostError, StoreCorrupt
from tests.command_line import filled, gatepost_


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A configuration whose store has an owner, whose API closes every connection without an answer."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = filled(tmp_path, f'api: {{address: "127.0.0.1:{listener.getsockname()[1]}"}}\n')
        (tmp_path / "data" / "operator.token").write_text("gatepost_x\n")

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                connection.recv(65536)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        with (tmp_path / "data" / "gatepost.db.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield config
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_an_agent_that_hangs_up_twice_is_one_sentence(deaf):
    """A lost answer is asked for once more; lost again, it is exit code 3 and what to do."""
    ran = gatepost_(deaf, "deadletter", "replay", "2", "--reason", "x")
    assert ran.code == 3
    assert "does not answer" in ran.out
    assert "may still do" in ran.out


@pytest.mark.parametrize("token", ["a\nb", "€", "x" * 600, " "])
def test_what_cannot_be_a_token_is_not_sent(deaf, tmp_path, token):
    """From the environment or from a file: one sentence that says where it stands, and not what it is."""
    (tmp_path / "token").write_bytes(b"\xff" + token.encode())
    ran = gatepost_(deaf, "pause", "line", "x", "--reason", "x", "--token-file", str(tmp_path / "token"))
    assert ran.code == 1
    assert "what " + str(tmp_path / "token") in ran.out
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GATEPOST_TOKEN", token)
        ran = gatepost_(deaf, "pause", "line", "x", "--reason", "x")
    assert (ran.code, "$GATEPOST_TOKEN" in ran.out) == (1, True)


def test_of_several_errors_each_is_told_and_the_worst_counts(monkeypatch, capsys):
    """A group out of a TaskGroup, however deep, is a line for each error; the exit code is the highest of theirs."""
    taken = ConfigError([Finding("agent.yaml", 3, "api.address", "cannot be listened on")])
    group = ExceptionGroup("", [GatepostError("lost"), ExceptionGroup("", [taken, StoreCorrupt("row 7")])])

    def fail(**_: object) -> None:
        raise ExceptionGroup("", [group, ExceptionGroup("", [PermissionError(13, "Permission denied", "/data")])])

    monkeypatch.setattr(cli, "gatepost", fail)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == StoreCorrupt.exit_code
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 4
    assert "Traceback" not in told
    assert told[-1].endswith("run this as the agent's user")


def test_looking_and_acting_need_no_secret(tmp_path):
    """Whoever looks may not read the service's secrets, and a token that signs has one in the configuration."""
    token = f"{{name: gateway, sha256: '{'0' * 64}', scopes: [gateway], signing_secret: {{secret: nobodys}}}}"
    config = filled(tmp_path, f'api: {{address: "127.0.0.1:1", tokens: [{token}]}}\nsecrets_dir: secrets\n')
    for words in (("trace", "A-1"), ("approvals", "list"), ("deadletter", "replay", "2", "--reason", "mended")):
        ran = gatepost_(config, *words)
        assert ran.code == 0, ran.out
