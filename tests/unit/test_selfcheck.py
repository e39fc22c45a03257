"""What the self-check says about a box, good and bad."""

from __future__ import annotations

import hashlib
import os

import pytest

from agent import selfcheck
from agent.selfcheck import Level


@pytest.fixture
def box(tmp_path):
    for name in ("data", "config", "models"):
        (tmp_path / name).mkdir(mode=0o750)
    (tmp_path / "config/agent.yaml").write_text("version: 1\n")
    (tmp_path / "secret").write_text("hunter2")
    (tmp_path / "secret").chmod(0o600)
    return tmp_path


def test_a_good_box_has_no_failure(box):
    """On a box in order nothing fails, and the file's hash is the one anybody can compute."""
    rows = selfcheck.selfcheck(
        config=box / "config", data=box / "data", models=box / "models", secrets=[box / "secret"], writes=5
    )
    assert selfcheck.worst(rows) is not Level.FAIL
    shown = {(row.topic, row.name): row for row in rows}
    assert shown["hash", str(box / "config/agent.yaml")].value == hashlib.sha256(b"version: 1\n").hexdigest()
    assert shown["permission", str(box / "secret")].level is Level.OK
    assert {"fdatasync median", "fdatasync p99"} <= {row.name for row in rows if row.topic == "disk"}
    assert not list((box / "data").iterdir())


def test_only_what_decides_is_hashed(box):
    """A model's files and the mappings do; the program that trained a model does not."""
    (box / "models" / "train.py").write_text("")
    (box / "models" / "model.onnx").write_bytes(b"x")
    (box / "mappings").mkdir()
    (box / "mappings" / "a.yaml").write_text("")
    rows = selfcheck.selfcheck(
        config=box / "config", data=box / "data", models=box / "models", beside=[box / "mappings"], writes=5
    )
    files = ["config/agent.yaml", "models/model.onnx", "mappings/a.yaml"]
    assert [row.name for row in rows if row.topic == "hash"] == [str(box / name) for name in files]


def test_every_row_that_is_not_ok_says_what_to_do(box):
    """A warning without advice helps nobody."""
    rows = selfcheck.selfcheck(config=box / "config", data=box / "nowhere", models=box / "models", writes=5)
    assert all(row.advice for row in rows if row.level is not Level.OK)
    assert selfcheck.worst(rows) is Level.FAIL


@pytest.mark.parametrize(("name", "mode"), [("secret", 0o604), ("config", 0o752), ("data", 0o755)])
def test_what_others_may_touch_is_shown(box, name, mode):
    """A secret others can read, a configuration they can write and a store they can see are warned about."""
    os.chmod(box / name, mode)
    rows = selfcheck.permissions(box / "config", box / "data", [box / "secret"])
    assert [row.name for row in rows if row.level is Level.WARN and row.name != "user"] == [str(box / name)]


def test_an_old_sqlite_library_is_a_failure():
    """The library of Debian 12 lies in the range that can corrupt a file."""
    assert selfcheck.sqlite_row("3.40.1").level is Level.FAIL
    assert selfcheck.sqlite_row("3.51.3").level is Level.OK
    assert selfcheck.sqlite_row().level is Level.OK


@pytest.mark.parametrize(("median", "level"), [(0.09, Level.WARN), (2.0, Level.OK), (80.0, Level.WARN)])
def test_a_disk_that_flushes_too_fast_or_too_slowly_is_noticed(median, level):
    """Under 0.2 ms no flash has flushed anything; over 50 ms every commit crawls."""
    assert selfcheck.judge_flush(median)[0] is level


def test_the_clock_is_read_without_rights():
    """The kernel tells an ordinary user whether its clock is synchronised."""
    assert selfcheck.clock().value.startswith(("yes", "no", "unknown"))
    assert selfcheck.clock_synchronised()[1] >= 0
