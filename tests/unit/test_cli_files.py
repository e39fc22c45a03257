"""Backups, rescue, the proof of the trail, exports and the support archive, from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
import sqlite_utils
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoints
from agent.store import archive, audit
from tests import stores
from tests.command_line import MESSAGE, filled, folder, gatepost_


@pytest.fixture
def config(tmp_path):
    return filled(tmp_path)


@pytest.fixture
def store(tmp_path):
    return tmp_path / "data" / "gatepost.db"


# ── backup, restore, recover ────────────────────────────────────────────────────────────────────────────────


def test_a_restored_backup_posts_nothing_until_a_person_lets_it(config, tmp_path):
    """backup → restore → every target is paused → `resume target '*'` lets it go on."""
    copy = str(tmp_path / "copy.db")
    assert gatepost_(config, "backup", copy).code == 0
    assert gatepost_(config, "backup", copy).code == 1
    ran = gatepost_(config, "restore", copy, "--yes")
    assert ran.code == 0
    assert "resume target '*'" in ran.out
    act = gatepost_(config, "deadletter", "replay", "2", "--reason", "stock was corrected")
    assert "RECONCILE" in act.out
    assert "target *" in gatepost_(config, "status").out
    assert gatepost_(config, "resume", "target", "*", "--reason", "the old box is off").code == 0
    assert "target *" not in gatepost_(config, "status").out


def test_a_damaged_backup_is_not_put_in_place(config, tmp_path, store):
    """What does not pass its check never replaces the store."""
    before = store.read_bytes()
    (tmp_path / "bad.db").write_bytes(b"SQLite format 3\0" + os.urandom(8192))
    assert gatepost_(config, "restore", str(tmp_path / "bad.db"), "--yes").code in (1, 4)
    assert gatepost_(config, "restore", str(tmp_path / "none.db"), "--yes").code == 1
    assert store.read_bytes() == before


def test_a_rescue_says_what_was_saved(config):
    """`recover` counts what it saved, sets the old files aside, and the rows are there."""
    ran = gatepost_(config, "recover", "--yes", "--reason", "power cut")
    assert ran.code == 0
    assert "set-aside" in ran.out
    assert "within tolerance" in gatepost_(config, "trace", "1").out


# ── the trail ───────────────────────────────────────────────────────────────────────────────────────────────


def tamper(store: Path, sql: str) -> None:
    connection = apsw.Connection(str(store))
    connection.execute("DROP TRIGGER IF EXISTS audit_is_append_only; DROP TRIGGER IF EXISTS audit_is_kept;" + sql)
    connection.close()


def test_a_whole_trail_is_proved(config):
    """`audit verify` says how many rows fit, and that only a checkpoint finds a rebuilt chain."""
    ran = gatepost_(config, "audit", "verify")
    assert ran.code == 0
    assert "rebuilt" in ran.out
    assert json.loads(gatepost_(config, "audit", "verify", "--json").out)["problems"] == []


def test_the_first_row_that_does_not_fit_is_named(config, store):
    """A changed row is exit code 4 with its number."""
    tamper(store, "UPDATE audit SET actor = 'nobody' WHERE seq = 3")
    ran = gatepost_(config, "audit", "verify")
    assert ran.code == 4
    assert "row 3" in ran.out


@pytest.fixture
def left_the_box(config, tmp_path):
    """A configuration that signs, two checkpoints that were taken away, and the public key."""
    key = checkpoints.load_key(tmp_path / "audit.pem")
    config.write_text(config.read_text() + "audit: {key_file: audit.pem}\n")
    taken = tmp_path / "taken.txt"
    taken.write_text(gatepost_(config, "audit", "checkpoint").out)
    gatepost_(config, "deadletter", "replay", "2", "--reason", "stock was corrected")
    taken.write_text(taken.read_text() + gatepost_(config, "audit", "checkpoint").out)
    assert isinstance(key, Ed25519PrivateKey)
    return ["--against", str(taken), "--public-key", str(tmp_path / "audit.pub")]


def test_checkpoints_that_left_the_box_confirm_the_chain(config, left_the_box):
    """Every checkpoint of the file is compared, and its signature checked."""
    ran = gatepost_(config, "audit", "verify", *left_the_box)
    assert ran.code == 0
    assert "2 checkpoints" in ran.out


def test_a_trail_that_was_cut_is_found(config, store, left_the_box):
    """Rows removed from the end leave a whole chain; the checkpoint knows better."""
    tamper(store, "DELETE FROM audit WHERE seq = (SELECT max(seq) FROM audit)")
    assert gatepost_(config, "audit", "verify").code == 0
    ran = gatepost_(config, "audit", "verify", *left_the_box)
    assert ran.code == 4
    assert "cut off" in ran.out


def test_a_trail_that_was_rebuilt_is_found(config, store, left_the_box):
    """A forger who computes every hash anew is caught by the checkpoint."""
    with stores.reading(store) as connection:
        records = [(*row[1:3], *row[3:8]) for row in audit.rows(connection)]
    records[2] = (*records[2][:1], "nobody", *records[2][2:])
    rows, _ = audit.chain(audit.Head(0, audit.GENESIS), records)
    tamper(store, "DELETE FROM audit")
    connection = apsw.Connection(str(store))
    connection.executemany("INSERT INTO audit VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
    connection.close()
    assert gatepost_(config, "audit", "verify").code == 0
    assert "rebuilt" in gatepost_(config, "audit", "verify", *left_the_box).out


def test_a_checkpoint_signed_by_another_key_is_refused(config, tmp_path, left_the_box):
    """The public key decides whose checkpoint it is."""
    checkpoints.load_key(tmp_path / "other.pem")
    ran = gatepost_(config, "audit", "verify", *left_the_box[:3], str(tmp_path / "other.pub"))
    assert ran.code == 1
    assert "not signed by this key" in ran.out


def test_no_key_is_made_by_asking(config, tmp_path):
    """A checkpoint before the agent has made its key is refused; root would make one that the agent cannot read."""
    config.write_text(config.read_text() + "audit: {key_file: none.pem}\n")
    assert gatepost_(config, "audit", "checkpoint").code == 1
    assert not (tmp_path / "none.pem").exists()


def test_an_archived_trail_is_proved_from_its_first_row(tmp_path):
    """The chain is followed through the archive files into the live one; without them it begins behind them."""
    config = folder(tmp_path)
    store, clock = tmp_path / "data" / "gatepost.db", stores.Clock()
    with stores.opened(store, clock) as writer:
        for _ in range(5):
            writer.call(lambda tx: tx.audit("noted", {"number": 5}))
        clock.forward(days=100)
        with stores.reading(store) as live:
            moved = archive.archive(writer, live, tmp_path / "data" / "archive", clock(), timedelta(days=90))
        writer.call(lambda tx: tx.audit("noted", {"number": 6}))
    assert moved.audit_rows == 5
    told = json.loads(gatepost_(config, "audit", "verify", "--json").out)
    assert (told["rows"], told["head"], told["problems"]) == (6, 6, [])
    tamper(moved.path, "UPDATE audit SET actor = 'nobody' WHERE seq = 2")
    assert "row 2" in gatepost_(config, "audit", "verify").out
    moved.path.rename(tmp_path / "taken-away.db")
    ran = gatepost_(config, "audit", "verify")
    assert ran.code == 0
    assert "rows 1 to 5 are not in" in ran.out


# ── export ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_spreadsheet_runs_no_formula_of_a_message(tmp_path):
    """Cells that begin like a formula get an apostrophe; numbers stay numbers."""
    config = folder(tmp_path)
    bad = ["=1+1", "+cmd", "@SUM(A1)", "-2+3", "|x"]
    with stores.opened(tmp_path / "data" / "gatepost.db") as writer:
        stores.arrive(writer, *(one.encode() for one in bad), b"-12.5")
    assert gatepost_(config, "export", "events", str(tmp_path / "events.csv")).code == 0
    cells = [row["payload"] for row in csv.DictReader(io.StringIO((tmp_path / "events.csv").read_text()))]
    assert cells == [*("'" + one for one in bad), "-12.5"]


def test_exports_are_whole_and_never_written_over(config, tmp_path, monkeypatch):
    """All rows arrive in pieces in each format; an existing file is refused; --since leaves out what is older."""
    monkeypatch.setattr("agent.commands.export.PIECE", 2)
    for name in ("p.csv", "p.jsonl", "p.db"):
        assert gatepost_(config, "export", "postings", str(tmp_path / name)).code == 0
    assert len(list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))) == 5
    assert [json.loads(line)["id"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == [1, 2, 3, 4, 5]
    with sqlite_utils.Database(tmp_path / "p.db") as database:
        assert database.table("postings").count == 5
    assert gatepost_(config, "export", "postings", str(tmp_path / "p.csv")).code == 1
    assert gatepost_(config, "export", "postings", "-", "--format", "jsonl", "--since", "2099-01-01").out == ""
    assert (
        json.loads(gatepost_(config, "export", "audit", "-", "--format", "jsonl").out.splitlines()[0])["prev"]
        == "00" * 32
    )
    assert gatepost_(config, "audit", "export", str(tmp_path / "a.jsonl")).code == 0


# ── bundle ──────────────────────────────────────────────────────────────────────────────────────────────────

CANARIES = {
    "file": "canary-file-5f2a9c",
    "environment": "canary-env-77d1",
    "written": "canary-written-b3",
    "url": "canary-url-9e",
    "operator": "canary-operator-token-41",
    "bearer": "canaryBearer0123456789",
    "hash": "c4" * 32,
    "line": "canary+key/line==",
}
LEAKY = """\
targets:
  - name: s4
    kind: sap_s4
    url: https://user:canary-url-9e@sap.example.com/
    auth: {user: GATEPOST, password: canary-written-b3}
  - {name: two, kind: sap_s4, auth: {password: {secret: erp_password}}}
secrets_dir: secrets
api: {address: "127.0.0.1:18080", tokens: [{name: hmi, sha256: "HASH", scopes: [read]}]}
""".replace("HASH", "c4" * 32)


def test_a_support_archive_holds_no_secret(tmp_path, monkeypatch):
    """Planted secrets of every kind are nowhere in the archive, in any file; nor are payloads unless asked for."""
    config = filled(tmp_path, LEAKY)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "erp_password").write_text(CANARIES["file"])
    pem = "-----BEGIN PRIVATE KEY-----\n" + CANARIES["line"] + "\n-----END PRIVATE KEY-----\n"
    (tmp_path / "secrets" / "client.pem").write_text(pem)
    (tmp_path / "data" / "operator.token").write_text(CANARIES["operator"])
    monkeypatch.setenv("GATEPOST_SECRET_ORACLE", CANARIES["environment"])
    log = tmp_path / "agent.log"
    lines = [
        f"said {name} {value}" for name, value in CANARIES.items() if name not in ("hash", "written", "url", "bearer")
    ]
    log.write_text(
        "\n".join([*lines, f"Authorization: Bearer {CANARIES['bearer']}", "password=canary-written-b3", pem])
    )
    place = tmp_path / "b.tar.gz"
    assert gatepost_(config, "bundle", str(place), "--log", str(log)).code == 0
    inside = texts(place)
    whole = "\n".join(inside.values())
    assert [name for name, value in CANARIES.items() if value in whole] == []
    assert MESSAGE.decode() not in whole
    assert "said file ***" in inside["logs/agent.log"]
    assert json.loads(inside["schema.json"])["rows"]["posting"] == 5
    assert "Deficit of SL" in inside["alarms.json"]
    assert {"versions.json", "selfcheck.txt", "status.json", "tally.json", "config/agent.yaml"} <= set(inside)
    assert place.stat().st_mode & 0o077 == 0


def test_the_files_of_tags_go_into_the_archive(tmp_path):
    """What `tags_file` names is how messages are read, as mappings are."""
    config = filled(tmp_path, "sources: [{name: plc, kind: sparkplug, tags_file: lists/tags.csv}]\n")
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "tags.csv").write_text("tag,address\na,G/N:x\n")
    place = tmp_path / "b.tar.gz"
    assert gatepost_(config, "bundle", str(place)).code == 0
    assert texts(place)["config/lists/tags.csv"] == "tag,address\na,G/N:x\n"


def test_payloads_are_added_when_asked_for(config, tmp_path):
    """--with-payloads adds what could not be read or posted."""
    gatepost_(config, "bundle", str(tmp_path / "b.tar.gz"), "--with-payloads")
    assert "A-2" in texts(tmp_path / "b.tar.gz")["payloads.json"]


def test_a_support_archive_can_be_made_of_a_broken_agent(tmp_path):
    """Without a store, or with a corrupt one, the archive says so instead of the figures."""
    config = folder(tmp_path)
    (tmp_path / "data" / "gatepost.db").write_bytes(b"no database" * 1000)
    assert gatepost_(config, "bundle", str(tmp_path / "b.tar.gz")).code == 0
    assert "recover" in texts(tmp_path / "b.tar.gz")["status.json"]


def texts(place: Path) -> dict[str, str]:
    with tarfile.open(place) as archive:
        return {
            member.name.partition("/")[2]: stream.read().decode()
            for member in archive.getmembers()
            if (stream := archive.extractfile(member)) is not None
        }


# ── the box ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_selfcheck_says_what_to_do(config, monkeypatch):
    """`selfcheck` lists facts, what is wrong first; a folder that is not there fails with exit code 1."""
    monkeypatch.setenv("COLUMNS", "60")
    told = json.loads(gatepost_(config, "selfcheck", "--json", "--writes", "3").out)
    assert {"version", "hash", "permission", "disk", "clock"} <= {row["topic"] for row in told}
    config.write_text(config.read_text().replace("data/", "nowhere/"))
    ran = gatepost_(config, "selfcheck", "--writes", "3")
    assert ran.code == 1
    nowhere = config.parent / "nowhere"
    told = f"fail  permission {nowhere}: No such file or directory\n    create it, or let uid {os.getuid()} in\n"
    assert ran.out.startswith(told)


def test_selfcheck_prints_hashes_where_they_are_asked_for(config):
    """As sha256sum does, of the configuration too; without the option none is printed."""
    line = f"{sha256(config.read_bytes()).hexdigest()}  {config}"
    assert line in gatepost_(config, "selfcheck", "--hashes", "--writes", "3").out.splitlines()
    assert line[:64] not in gatepost_(config, "selfcheck", "--writes", "3").out


def test_a_token_is_shown_once_with_the_lines_to_paste(config):
    """The printed hash is that of the printed token, and the lines are a configuration that can be read."""
    out = gatepost_(config, "token", "hmi-3", "--scope", "read", "--scope", "approve", "--line", "mixing").out
    made = out.split("\n\n")[1].strip()
    config.write_text(config.read_text() + "api:\n  address: 127.0.0.1:1\n" + out[out.index("  tokens:") :])
    assert sha256(made.encode()).hexdigest() in config.read_text()
    assert gatepost_(config, "version").code == 0
    assert gatepost_(config, "status").code == 0
    assert gatepost_(config, "token", "x", "--scope", "all").code == 2


def test_a_gateway_gets_a_secret_to_sign_with(config):
    """The lines to paste name it, and the secret is shown once, long enough; other tokens have none."""
    out = gatepost_(config, "token", "line3", "--scope", "gateway").out
    assert "signing_secret: {secret: line3_signing}" in out
    assert len(out.split()[-1]) == 64
    assert "signing" not in gatepost_(config, "token", "hmi-3", "--scope", "read").out


def test_times_of_exports_are_utc(config):
    """Every time in an export says its zone."""
    row = json.loads(gatepost_(config, "export", "events", "-", "--format", "jsonl").out.splitlines()[0])
    assert datetime.fromisoformat(row["received_at"]).tzinfo == UTC
