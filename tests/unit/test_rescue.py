"""What `recover` saves of a damaged store, and that nobody forgets what was posted."""

from __future__ import annotations

import random
from pathlib import Path

import apsw
import pytest

from agent.errors import NotFound, StoreCorrupt
from agent.store import audit, rescue
from agent.store.backup import check
from agent.store.writer import Writer
from tests.stores import START, Clock, add, assert_sound, drain, fill, opened, posting, reading

PAGE = 4096


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with 300 postings, the first 60 of them acknowledged."""
    path = tmp_path / "gp.db"
    with opened(path) as writer:
        fill(writer, 300)
        drain(writer, 60)
    return path


def _recover(path: Path) -> rescue.Rescue:
    return rescue.recover(path, START, by="ann", reason="disk replaced")


def _root(path: Path, name: str) -> int:
    with reading(path) as connection:
        return int(connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (name,)).get)


def _leaves(path: Path, table: str) -> list[int]:
    with reading(path) as connection:
        return [
            page
            for (page,) in connection.execute(
                "SELECT pageno FROM dbstat WHERE name = ? AND pagetype = 'leaf' ORDER BY path", (table,)
            )
        ]


def _spoil(path: Path, page: int) -> None:
    content = bytearray(path.read_bytes())
    content[(page - 1) * PAGE : page * PAGE] = random.Random(page).randbytes(PAGE)
    path.write_bytes(content)


def _assert_reconciles(path: Path) -> None:
    with opened(path) as writer:
        assert "RECONCILE" in writer.findings[0]
        assert drain(writer, 10) == 0
    with reading(path) as connection:
        assert_sound(connection)


@pytest.mark.parametrize(
    ("first", "length"), [(0, 16), (0, 100), (16, 84), (0, PAGE)], ids=["magic", "header", "fields", "page"]
)
def test_a_damaged_beginning_costs_no_row(path: Path, first: int, length: int):
    """The agent refuses the file; recover reads all of it with the first page of a new store."""
    content = bytearray(path.read_bytes())
    content[first : first + length] = b"\xa5" * length
    path.write_bytes(content)
    with pytest.raises(StoreCorrupt, match="gatepost recover"):
        Writer(path, Clock()).start()
    saved = _recover(path)
    assert (saved.rows["event"], saved.rows["posting"], saved.rows["idempotency"]) == (300, 300, 300)
    assert (saved.set_aside / "gp.db").read_bytes() == bytes(content)
    _assert_reconciles(path)


@pytest.mark.parametrize("table", ["event", "posting", "audit", "identity", "idempotency"])
@pytest.mark.parametrize("which", [0, 1, -1])
def test_a_lost_page_costs_the_rows_on_it_and_no_others(path: Path, table: str, which: int):
    """The rest is saved, the loss is counted, and both balances hold for what is there."""
    _spoil(path, _leaves(path, table)[which])
    saved = _recover(path)
    assert saved.lost[table] > 0
    for other in {"event", "posting"} - {table}:
        assert saved.rows[other] == 300
    if table != "audit":
        assert saved.rows[table] > 100
    with reading(path) as connection:
        assert_sound(connection)
        keys = connection.execute("SELECT count(*) FROM idempotency").get
    assert keys >= (300 if table in ("event", "audit") else 240)
    _assert_reconciles(path)


def test_keys_of_archived_postings_survive(path: Path):
    """What was archived is known by its keys alone: after a rescue it is still refused as a double."""
    with opened(path) as writer:
        writer.call(lambda tx: tx.execute("DELETE FROM posting WHERE id = 1"))
        writer.call(lambda tx: tx.count("archived postings acknowledged"))
    _spoil(path, _leaves(path, "audit")[0])
    _recover(path)
    with opened(path) as writer, pytest.raises(apsw.ConstraintError):
        add(writer, posting(1))
    with reading(path) as connection:
        assert_sound(connection)


def test_row_numbers_are_not_given_twice(path: Path):
    """Also the numbers of lost rows stay theirs: the trail may speak of them."""
    with opened(path) as writer:
        writer.call(lambda tx: tx.execute("DELETE FROM posting WHERE id > 290"))
    _recover(path)
    with opened(path) as writer:
        assert add(writer, posting(1000)) == [301]


def test_a_changed_payload_is_not_sent(path: Path):
    """A posting that is not what was decided is refused by the rescue and named in the trail."""
    content = path.read_bytes()
    place = content.rindex(b'"number":250')
    path.write_bytes(content[: place + 9] + b"999" + content[place + 12 :])
    saved = _recover(path)
    assert saved.changed == [250]
    with reading(path) as connection:
        assert connection.execute("SELECT state FROM posting WHERE id = 250").get == "refused"
        assert_sound(connection)


def test_text_that_is_none_any_more_costs_its_row_only(path: Path):
    """A flipped bit may leave bytes that are no UTF-8: that row is counted as lost, every other is saved."""
    content = path.read_bytes()
    place = content.rindex(b'"number":250')
    path.write_bytes(content[:place] + b"\xff" + content[place + 1 :])
    saved = _recover(path)
    assert (saved.rows["posting"], saved.lost["posting"]) == (299, 1)
    with reading(path) as connection:
        assert connection.execute("SELECT count(*) FROM idempotency").get == 300
        assert_sound(connection)


def test_a_broken_trail_goes_on_behind_the_break(path: Path):
    """The rescue says where the chain was broken, and what is written from then on can be checked again."""
    _spoil(path, _leaves(path, "audit")[1])
    saved = _recover(path)
    assert saved.trail_broken_at
    assert saved.audit is not None
    assert saved.audit.broken_at is None
    with reading(path) as connection:
        last = connection.execute("SELECT action, actor, detail FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
        assert audit.verify_file(connection).rows > 0
    assert last is not None
    assert last[:2] == ("recovered", "ann")
    assert f'"trail_broken_at":[{saved.trail_broken_at[0]}' in str(last[2])


def test_where_nothing_can_be_read_nothing_is_replaced(tmp_path: Path):
    """An empty store would forget what was posted: recover refuses and every file stays."""
    path = tmp_path / "gp.db"
    path.write_bytes(b"not a database " * 1000)
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="gatepost restore"):
        _recover(path)
    assert path.read_bytes() == before
    assert sorted(one.name for one in tmp_path.iterdir()) == ["gp.db", "gp.db.lock"]


def test_the_log_is_part_of_the_store(path: Path):
    """Commits that were only in the write-ahead log are saved with the rest."""
    with opened(path) as writer:
        writer.call(lambda tx: tx.connection.pragma("wal_autocheckpoint", 0))
        fill(writer, 30)
        copies = {end: path.with_name("gp.db" + end).read_bytes() for end in ("", "-wal")}
    for end, content in copies.items():
        path.with_name("gp.db" + end).write_bytes(content)
    assert _recover(path).rows["posting"] == 330


def test_there_must_be_something_to_rescue(tmp_path: Path):
    """Without a file there is nothing to do, and none is made."""
    with pytest.raises(NotFound):
        _recover(tmp_path / "gp.db")
    assert not (tmp_path / "gp.db").exists()


def test_a_whole_store_passes_the_full_check(path: Path):
    """The check that backups and restores rest on is content with an untouched file."""
    with reading(path) as connection:
        assert check(connection, "gp.db").broken_at is None
