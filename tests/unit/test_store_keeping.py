"""What the store keeps and moves: arrivals, master data, archives, checkpoints, and files of other releases."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import apsw
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent import checkpoints
from agent.errors import Conflict, NotFound, StoreError, StoreUnfit
from agent.ports import Batch, Delivery, Notice
from agent.store import approvals, archive, audit, balance, inbox, masterdata, schema
from agent.store.transaction import Transaction
from agent.store.writer import Writer
from tests.stores import START, Clock, arrive, assert_sound, claim, drain, fill, opened, reading


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "gp.db"


# ── arrivals ────────────────────────────────────────────────────────────────────────────────────────────────


def test_checkpoints_and_notices_commit_with_their_events(path: Path):
    """Source state and what a source noticed are there exactly when its deliveries are."""
    notice = Notice("session_lost", {"broker": "b1"})
    batch = Batch("line", [Delivery("a", b"1", {"qos": "1"})], START, lambda: None, (("k", b"7"),), (notice,))
    with opened(path) as writer:
        writer.call(lambda tx: inbox.store(tx, batch))
    with reading(path) as connection:
        assert inbox.checkpoint(connection, "k") == b"7"
        assert [dict(one.properties) for one in inbox.undecided(connection, 10)] == [{"qos": "1"}]
        assert connection.execute("SELECT actor, alarm FROM audit").fetchall() == [("line", 1)]
        assert_sound(connection)


def test_an_event_is_settled_once_and_its_key_known_for_ever(path: Path):
    """A second settlement is a conflict that changes nothing, and a known key cannot become new again."""
    with opened(path) as writer:
        arrive(writer, b"one", b"two")
        one = inbox.Settlement(1, "ignored", "consumption:1", sha256(b"one").digest())
        writer.call(lambda tx: inbox.settle(tx, [one]))
        with pytest.raises(Conflict, match="decided elsewhere"):
            writer.call(lambda tx: inbox.settle(tx, [one]))
        again = inbox.Settlement(2, "ignored", "consumption:1", sha256(b"two").digest())
        with pytest.raises(apsw.ConstraintError):
            writer.call(lambda tx: inbox.settle(tx, [again]))
    with reading(path) as connection:
        assert inbox.known(connection, ["consumption:1", "other"]) == {"consumption:1": (sha256(b"one").digest(), 1)}
        assert [one.id for one in inbox.undecided(connection, 10)] == [2]
        assert_sound(connection)


def test_a_commit_in_the_middle_of_counting_is_no_difference(path: Path):
    """The totals and the rows are of the same commit, however many commits come while they are read."""
    with opened(path) as writer, reading(path) as connection:

        def commit_more(_cursor: apsw.Cursor, sql: str, _bindings: object) -> bool:
            if "count(*)" in sql:
                arrive(writer, b"one more")
            return True

        arrive(writer, b"one")
        connection.exec_trace = commit_more
        assert [one.difference for one in balance.counted(connection)] == [0, 0]


def test_only_a_quarantined_event_can_be_replayed(path: Path):
    """Replay puts it before the workflows again, says who and why, and the balance holds."""
    with opened(path) as writer:
        arrive(writer, b"broken")
        writer.call(lambda tx: inbox.settle(tx, [inbox.Settlement(1, "quarantined", reason="not JSON")]))
        writer.call(lambda tx: inbox.replay(tx, 1, by="ann", reason="mapping mended"))
        with pytest.raises(Conflict, match="event 1 is undecided"):
            writer.call(lambda tx: inbox.replay(tx, 1, by="ann", reason="again"))
        with pytest.raises(NotFound, match="no event 99"):
            writer.call(lambda tx: inbox.replay(tx, 99, by="ann", reason="x"))
    with reading(path) as connection:
        assert [one.id for one in inbox.undecided(connection, 10)] == [1]
        assert_sound(connection)


def test_a_poisoned_audit_row_costs_its_own_job_only(path: Path):
    """A lone surrogate cannot be written; its job fails, the store goes on."""
    with opened(path) as writer:
        for actor, detail in (("agent", "\ud800"), ("\ud800", "x")):
            with pytest.raises(ValueError, match="surrogates not allowed"):
                writer.call(lambda tx, a=actor, d=detail: tx.audit("decided", d, actor=a))  # type: ignore[misc]
        writer.call(lambda tx: tx.audit("decided", "good"))
    with reading(path) as connection:
        assert_sound(connection)


# ── master data ─────────────────────────────────────────────────────────────────────────────────────────────


def test_master_data_keeps_every_version_and_adds_only_changes(path: Path):
    """The same content again is no new version; the newest of each is current, by origin where asked."""
    with opened(path) as writer:
        put = [("order", "1", {"qty": "5"}), ("order", "2", {"qty": "1"})]
        assert writer.call(lambda tx: masterdata.put(tx, put, "erp")) == 2
        assert writer.call(lambda tx: masterdata.put(tx, put, "erp")) == 0
        assert writer.call(lambda tx: masterdata.put(tx, [("order", "1", {"qty": "6"})], "files")) == 1
    with reading(path) as connection:
        assert {key: content["qty"] for _, key, content in masterdata.current(connection)} == {"1": "6", "2": "1"}
        assert [key for _, key, _ in masterdata.current(connection, "files")] == ["1"]
        assert connection.execute("SELECT count(*) FROM masterdata").get == 3


# ── archives ────────────────────────────────────────────────────────────────────────────────────────────────


def _archive(writer: Writer, path: Path, folder: Path, clock: Clock) -> archive.Archived:
    with reading(path) as live:
        return archive.archive(writer, live, folder, clock(), timedelta(days=1))


def test_only_what_is_finished_and_old_leaves(path: Path, tmp_path: Path):
    """Open postings and their events stay whatever their age; what leaves is in the archive, its keys stay."""
    clock = Clock()
    with opened(path, clock) as writer:
        fill(writer, 20, orders=20)
        assert drain(writer, 5) == 5
        (sending,) = claim(writer, 1)
        clock.forward(days=30)
        moved = _archive(writer, path, tmp_path / "archive", clock)
        again = _archive(writer, path, tmp_path / "archive", clock)
    assert (moved.events, moved.postings, moved.audit_rows > 0) == (5, 5, True)
    assert (again.events, again.postings, again.audit_rows) == (0, 0, 0)
    with reading(path) as live, reading(moved.path) as kept:
        assert_sound(live)
        assert live.execute("SELECT count(*), min(id) FROM posting").fetchone() == (15, sending.posting.id)
        assert live.execute("SELECT count(*) FROM idempotency").get == 20
        assert kept.execute("SELECT count(*) FROM posting WHERE document IS NOT NULL").get == 5
        assert kept.execute("SELECT count(*) FROM event").get == 5
        assert audit.verify(audit.Head(0, audit.GENESIS), audit.rows(kept)).broken_at is None


def test_what_belongs_to_a_posting_leaves_with_it(path: Path, tmp_path: Path):
    """Marks of corrections and escalations, old nonces and kept answers are gone with it; those of open ones stay."""
    clock = Clock()
    with opened(path, clock) as writer:
        fill(writer, 2, orders=2)
        assert drain(writer, 1) == 1
        _mark(writer, "old")
        clock.forward(days=30)
        _mark(writer, "new")
        assert _archive(writer, path, tmp_path / "archive", clock).postings == 1
        _archive(writer, path, tmp_path / "archive", clock)
    with reading(path) as live:
        (open_one,) = [id for (id,) in live.execute("SELECT id FROM posting")]
        for table in ("correction", "escalation"):
            assert live.execute(f"SELECT posting_id FROM {table}").fetchall() == [(open_one,)], table
        assert live.execute("SELECT nonce FROM challenge").fetchall() == [("new",)]
        assert live.execute("SELECT key FROM command").fetchall() == [("new",)]


def _mark(writer: Writer, name: str) -> None:
    """What people leave behind at every posting that is there."""

    def job(tx: Transaction) -> None:
        tx.execute("INSERT OR IGNORE INTO correction SELECT id, id FROM posting")
        tx.execute("INSERT OR IGNORE INTO escalation SELECT id, ? FROM posting", (tx.now_us,))
        tx.execute(
            "INSERT INTO challenge (nonce, posting_id, version, decision, shown_sha256, session_user, bearer, "
            "expires_us) VALUES (?, 1, 1, 'approve', ?, 'anna', 'gateway', ?)",
            (name, "0" * 64, tx.now_us),
        )
        approvals.once(tx, name, {"act": name}, dict)

    writer.call(job)


def test_an_archive_that_does_not_fit_takes_nothing_away(path: Path, tmp_path: Path):
    """First the archive is on disk, then rows are deleted: a full disk there leaves the live file whole."""
    clock, small = Clock(), tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=60k", "tmpfs", small], check=False).returncode:
        pytest.skip("needs root to mount a small tmpfs")
    try:
        with opened(path, clock) as writer:
            fill(writer, 50)
            drain(writer, 50)
            clock.forward(days=30)
            with pytest.raises(apsw.FullError):
                _archive(writer, path, small, clock)
            with reading(path) as live:
                assert live.execute("SELECT count(*) FROM posting").get == 50
                assert_sound(live)
    finally:
        subprocess.run(["umount", small], check=True)


def test_rows_of_a_clock_that_was_ahead_leave_with_their_neighbours(path: Path, tmp_path: Path):
    """A row from the future between old ones is archived like them: no row leaves without being kept."""
    clock = Clock()
    with opened(path, clock) as writer:
        for days in (3650, -3650, 0):
            clock.forward(days=days)
            writer.call(lambda tx: tx.audit("noted", {}))
        clock.forward(days=30)
        writer.call(lambda tx: tx.audit("young", {}))
        moved = _archive(writer, path, tmp_path / "archive", clock)
    with reading(path) as live, reading(moved.path) as kept:
        assert audit.verify_file(live).rows == 1
        verdict = audit.verify(audit.Head(0, audit.GENESIS), audit.rows(kept))
    assert (verdict.rows, verdict.broken_at) == (3, None)


def test_any_number_of_rows_from_the_future_does_not_stop_archiving(path: Path, tmp_path: Path):
    """More of them than one chunk holds leave with the old rows behind them; without old rows behind they stay."""
    clock, many = Clock(), archive.CHUNK + 1

    def write(tx):
        for _ in range(many):
            tx.audit("noted", {})

    with opened(path, clock) as writer:
        clock.forward(days=3650)
        writer.call(write)
        clock.forward(days=-3650)
        clock.forward(days=2)
        assert _archive(writer, path, tmp_path / "archive", clock).audit_rows == 0
        writer.call(lambda tx: tx.audit("old by then", {}))
        clock.forward(days=2)
        writer.call(lambda tx: tx.audit("young", {}))
        moved = _archive(writer, path, tmp_path / "archive", clock)
    with reading(path) as live, reading(moved.path) as kept:
        assert (moved.audit_rows, audit.verify_file(live).rows) == (many + 1, 1)
        verdict = audit.verify(audit.Head(0, audit.GENESIS), audit.rows(kept))
    assert (verdict.rows, verdict.broken_at) == (many + 1, None)


def test_the_chain_goes_on_behind_an_archive_that_took_all(path: Path, tmp_path: Path):
    """Also where every audit row has left, the next one carries the hash of the last, also after a restart."""
    clock = Clock()
    with opened(path, clock) as writer:
        fill(writer, 3)
        drain(writer, 3)
        clock.forward(days=30)
        _archive(writer, path, tmp_path / "archive", clock)
        assert writer.call(lambda tx: tx.execute("SELECT count(*) FROM audit").get) == 0
    with opened(path, clock) as writer:
        writer.call(lambda tx: tx.audit("after", {}))
    with reading(path) as live:
        assert audit.verify_file(live).rows == 1
        assert_sound(live)


# ── checkpoints ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_checkpoint_tells_a_changed_one(tmp_path: Path):
    """It reads back as it was signed; another key, another number or a cut line is refused."""
    key = checkpoints.load_key(tmp_path / "sign.key")
    public = checkpoints.load_public(tmp_path / "sign.pub")
    one = checkpoints.Checkpoint("plant", 77, bytes(range(32)), START)
    signed = checkpoints.sign(one, key)
    assert checkpoints.read(signed, public) == one
    for wrong in (signed.replace("\n77\n", "\n78\n"), checkpoints.sign(one, Ed25519PrivateKey.generate())):
        with pytest.raises(StoreError, match="not signed by this key"):
            checkpoints.read(wrong, public)
    with pytest.raises(StoreError, match="not a checkpoint"):
        checkpoints.read("\n".join(signed.splitlines()[:4]), public)
    with pytest.raises(StoreError, match="not signed by this key"):
        checkpoints.read(checkpoints.sign(one, None), public)
    assert checkpoints.load_key(tmp_path / "sign.key").private_bytes_raw() == key.private_bytes_raw()
    assert (tmp_path / "sign.key").stat().st_mode & 0o777 == 0o400


@pytest.mark.parametrize(
    "content", [b"", b"garbage", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_file_that_is_no_key_is_named(tmp_path: Path, content: bytes):
    """Whatever stands in it: a StoreError that names the file, which no loop of the agent dies of."""
    wrong = tmp_path / "sign.key"
    wrong.write_bytes(content)
    for load in (checkpoints.load_key, checkpoints.load_public):
        with pytest.raises(StoreError, match=r"sign\.key is no Ed25519"):
            load(wrong)


def test_a_checkpoint_that_cannot_leave_is_named(tmp_path: Path):
    """The places that work get it, the one that does not is named."""
    good, bad = tmp_path / "good", tmp_path / "no such folder" / "bad"
    (problem,) = checkpoints.append([bad, good], "signed\n")
    assert str(bad) in problem
    assert good.read_text() == "signed\n"


# ── other releases ──────────────────────────────────────────────────────────────────────────────────────────


def _as_newer(path: Path) -> None:
    """As a release leaves it that changed more than it added."""
    newer = len(schema.MIGRATIONS) + 1
    with apsw.Connection(str(path)) as connection:
        connection.pragma("user_version", newer)
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('oldest_reader', ?)", (str(newer),))


def test_a_file_of_a_newer_release_is_refused_and_kept(path: Path):
    """The message says which versions, and the file is as it was."""
    with opened(path) as writer:
        fill(writer, 3)
    _as_newer(path)
    with pytest.raises(StoreUnfit, match="written by a newer release"):
        Writer(path, Clock()).start()
    with reading(path) as connection:
        assert_sound(connection)


def test_the_way_back_with_a_full_backlog(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Upgrade with open rows, work on them, and go back: the release before goes on with every row."""
    with opened(path) as writer:
        fill(writer, 30)
    known = schema.MIGRATIONS
    newer = "ALTER TABLE posting ADD COLUMN shift TEXT; INSERT OR REPLACE INTO meta VALUES ('oldest_reader', '1')"
    with monkeypatch.context() as upgraded:
        upgraded.setattr(schema, "MIGRATIONS", (*known, newer))
        with opened(path) as writer:
            assert drain(writer, 10) == 10
    with opened(path) as writer:
        assert writer.findings == []
        assert drain(writer, 20) == 20
        fill(writer, 1)
    with reading(path) as connection:
        assert connection.pragma("user_version") == len(known) + 1
        assert_sound(connection)


@pytest.mark.parametrize("application_id", [0, 0x12345678])
def test_somebody_elses_database_is_left_alone(path: Path, application_id: int):
    """A file with other tables or another application id is no store: refused, nothing is added to it."""
    with apsw.Connection(str(path)) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.pragma("application_id", application_id)
    with pytest.raises(StoreUnfit, match="not a Gatepost store"):
        Writer(path, Clock()).start()
    with apsw.Connection(str(path)) as connection:
        assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("theirs",)]


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each step is one transaction: where it fails the file stays at its version with all rows."""
    with opened(path) as writer:
        fill(writer, 3)
    with monkeypatch.context() as upgraded:
        broken = "ALTER TABLE posting ADD COLUMN shift TEXT; SELECT no_such_function()"
        upgraded.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError):
            Writer(path, Clock()).start()
    with opened(path) as writer:
        assert drain(writer, 3) == 3
