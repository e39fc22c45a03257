"""The tables, their invariants, and the migrations between versions (`PRAGMA user_version`).

One SQLite file. STRICT tables and CHECK constraints refuse wrong states; partial indexes hold open rows only, so
that work costs the same with a million finished rows beside it. Times are microseconds since 1970 UTC (`_us`).

Lists of states are written out with OR: for `IN (three or more)` SQLite builds a temporary tree at every single row.
"""

from __future__ import annotations

import apsw

from agent.errors import StoreUnfit

APPLICATION_ID = 0x47505354  # "GPST": what `file` and other tools see

# SQLite 3.7.0 to 3.51.2 can corrupt a WAL file when one connection checkpoints while another writes.
OLDEST_LIBRARY = (3, 51, 3)

VERSION_1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE tally (name TEXT PRIMARY KEY, n INTEGER NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  source TEXT NOT NULL,
  topic TEXT NOT NULL,
  payload BLOB NOT NULL,
  properties TEXT CHECK (properties IS NULL OR json_valid(properties)),
  received_us INTEGER NOT NULL,
  state TEXT NOT NULL DEFAULT 'undecided' CHECK (
    state = 'undecided' OR state = 'posted' OR state = 'held' OR state = 'advised' OR state = 'ignored' OR
    state = 'duplicate' OR state = 'quarantined'),
  message_key TEXT,
  reason TEXT,
  settled_us INTEGER,
  CHECK ((state = 'undecided') = (settled_us IS NULL)),
  CHECK ((state <> 'quarantined' AND state <> 'duplicate') OR reason IS NOT NULL)
) STRICT;
CREATE INDEX event_undecided ON event (id) WHERE state = 'undecided';
CREATE INDEX event_quarantined ON event (id) WHERE state = 'quarantined';
CREATE INDEX event_advised ON event (id, received_us) WHERE state = 'advised';

-- Which messages were seen, for ever: the de-duplication of what senders and brokers repeat.
CREATE TABLE identity (
  message_key TEXT PRIMARY KEY,
  payload_hash BLOB NOT NULL CHECK (length(payload_hash) = 32),
  event_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- held → ready | refused | superseded · ready → sending | held | refused | simulated
-- sending → acknowledged | ready | in_doubt | dead · in_doubt → acknowledged | sending | doubtful
-- doubtful → acknowledged | ready | refused · dead → ready | refused          (agent/store/outbox.py draws it)
CREATE TABLE posting (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  event_id INTEGER,
  workflow TEXT NOT NULL,
  kind TEXT NOT NULL,
  target TEXT NOT NULL,
  ordering_key TEXT NOT NULL,
  line TEXT NOT NULL DEFAULT '',
  idempotency_key TEXT NOT NULL CHECK (length(idempotency_key) = 16),
  payload TEXT NOT NULL CHECK (json_valid(payload)),
  payload_hash BLOB NOT NULL CHECK (length(payload_hash) = 32),
  value TEXT NOT NULL,
  confidence REAL,
  reasons TEXT NOT NULL DEFAULT '[]' CHECK (reasons = '[]' OR json_valid(reasons)),
  policy TEXT NOT NULL,
  state TEXT NOT NULL CHECK (
    state = 'ready' OR state = 'sending' OR state = 'acknowledged' OR state = 'held' OR state = 'in_doubt' OR
    state = 'doubtful' OR state = 'dead' OR state = 'refused' OR state = 'simulated' OR state = 'superseded'),
  version INTEGER NOT NULL DEFAULT 1 CHECK (version >= 1),
  waits INTEGER NOT NULL DEFAULT 0 CHECK (waits IN (0, 1)),
  approved INTEGER NOT NULL DEFAULT 0 CHECK (approved IN (0, 1)),
  signers INTEGER NOT NULL DEFAULT 1 CHECK (signers IN (1, 2)),
  signed_by TEXT NOT NULL DEFAULT '[]' CHECK (signed_by = '[]' OR json_valid(signed_by)),
  check_first INTEGER NOT NULL DEFAULT 0 CHECK (check_first IN (0, 1)),
  lane_seq INTEGER,  -- its place in line, while it is in a lane
  supersedes INTEGER,
  attempts INTEGER NOT NULL DEFAULT 0,
  lookups INTEGER NOT NULL DEFAULT 0,
  next_us INTEGER NOT NULL DEFAULT 0,
  created_us INTEGER NOT NULL,
  changed_us INTEGER NOT NULL,
  first_sent_us INTEGER,
  last_sent_us INTEGER,
  request_id TEXT,
  wire BLOB,
  document TEXT,
  error TEXT,
  CHECK ((state = 'acknowledged') = (document IS NOT NULL)),
  CHECK ((state <> 'sending' AND state <> 'in_doubt' AND state <> 'doubtful')
    OR (wire IS NOT NULL AND last_sent_us IS NOT NULL)),
  CHECK ((state = 'ready' OR state = 'sending' OR state = 'in_doubt' OR state = 'doubtful' OR state = 'dead')
    = (lane_seq IS NOT NULL))
) STRICT;
CREATE INDEX posting_lane ON posting (target, ordering_key, lane_seq) WHERE lane_seq IS NOT NULL;
CREATE INDEX posting_held ON posting (ordering_key) WHERE state = 'held';  -- in the order of ids, as every index
CREATE INDEX posting_state ON posting (state) WHERE state <> 'acknowledged';
CREATE INDEX posting_event ON posting (event_id);
CREATE INDEX posting_line ON posting (line, event_id);  -- what a line reported lately
CREATE INDEX posting_document ON posting (document) WHERE document IS NOT NULL;

-- Which postings were made, for ever: a posting row may be archived, its key stays.
CREATE TABLE idempotency (
  idempotency_key TEXT PRIMARY KEY,
  posting_id INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row per ordering key with open postings: its head, and whether the head may be sent.
CREATE TABLE lane (
  target TEXT NOT NULL,
  ordering_key TEXT NOT NULL,
  head INTEGER NOT NULL,
  head_seq INTEGER NOT NULL,
  line TEXT NOT NULL,
  state TEXT NOT NULL CHECK (state = 'ready' OR state = 'busy' OR state = 'blocked'),
  next_us INTEGER NOT NULL DEFAULT 0,
  PRIMARY KEY (target, ordering_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX lane_ready ON lane (target, head_seq) WHERE state = 'ready';

CREATE TABLE pause (
  scope TEXT NOT NULL CHECK (scope = 'target' OR scope = 'line' OR scope = 'order'),
  key TEXT NOT NULL,
  by TEXT NOT NULL,
  reason TEXT NOT NULL,
  since_us INTEGER NOT NULL,
  PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;

-- What moves with an event in one transaction: streaming state of workflows, last sequence numbers of senders.
CREATE TABLE state (key TEXT PRIMARY KEY, value TEXT NOT NULL CHECK (json_valid(value))) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;

CREATE TABLE masterdata (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  version INTEGER NOT NULL,
  received_us INTEGER NOT NULL,
  origin TEXT NOT NULL,
  document TEXT NOT NULL CHECK (json_valid(document)),
  PRIMARY KEY (kind, key, version)
) STRICT, WITHOUT ROWID;

-- What quarantined reports wait for (awaited.py): an order or a material; settled_us says in which quarantine.
CREATE TABLE awaited (
  kind TEXT NOT NULL,
  key TEXT NOT NULL,
  event_id INTEGER NOT NULL,
  settled_us INTEGER NOT NULL,
  PRIMARY KEY (kind, key, event_id)
) STRICT, WITHOUT ROWID;

-- Answers to requests that may be repeated: the same key gets the same answer.
CREATE TABLE command (
  key TEXT PRIMARY KEY,
  request_hash BLOB NOT NULL,
  answer TEXT NOT NULL CHECK (json_valid(answer)),
  at_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  seq INTEGER PRIMARY KEY,
  at_us INTEGER NOT NULL,
  actor TEXT NOT NULL,
  action TEXT NOT NULL,
  event_id INTEGER,
  posting_id INTEGER,
  alarm INTEGER NOT NULL DEFAULT 0 CHECK (alarm IN (0, 1)),
  detail TEXT NOT NULL CHECK (json_valid(detail)),
  prev BLOB NOT NULL CHECK (length(prev) = 32),
  hash BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE INDEX audit_event ON audit (event_id) WHERE event_id IS NOT NULL;
CREATE INDEX audit_posting ON audit (posting_id) WHERE posting_id IS NOT NULL;
CREATE INDEX audit_alarm ON audit (seq) WHERE alarm = 1;

CREATE TRIGGER audit_is_append_only BEFORE UPDATE ON audit
BEGIN SELECT raise(ABORT, 'audit rows are never changed'); END;
-- Rows leave only after their archive is on disk: the mark is moved in the same transaction that deletes.
CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
WHEN old.seq > coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'archived_to'), 0)
BEGIN SELECT raise(ABORT, 'audit rows leave only into an archive'); END;
"""

VERSION_2 = """
-- Nonces of signatures (challenges.py): given for one decision about one posting as it was shown; good once.
CREATE TABLE challenge (
  nonce TEXT PRIMARY KEY,
  posting_id INTEGER NOT NULL,
  version INTEGER NOT NULL,
  decision TEXT NOT NULL CHECK (decision = 'approve' OR decision = 'refuse' OR decision = 'correct'),
  shown_sha256 TEXT NOT NULL CHECK (length(shown_sha256) = 64),
  session_user TEXT NOT NULL,
  bearer TEXT NOT NULL,
  expires_us INTEGER NOT NULL,
  used_us INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX challenge_expires ON challenge (expires_us);
CREATE TRIGGER challenge_is_good_once BEFORE UPDATE ON challenge WHEN old.used_us IS NOT NULL
BEGIN SELECT raise(ABORT, 'a nonce is used once'); END;

-- A correction stands where what it replaces stood: behind what was held before that, before what was held after it.
CREATE TABLE correction (posting_id INTEGER PRIMARY KEY, place INTEGER NOT NULL) STRICT;

-- Held postings that waited so long that somebody else was told.
CREATE TABLE escalation (posting_id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL) STRICT;

INSERT INTO meta (key, value) VALUES ('oldest_reader', '1');
"""

VERSION_3 = """
-- What a challenger said about what the champion decided (shadow.py); it leaves with its event.
CREATE TABLE shadow (
  event_id INTEGER NOT NULL,
  model TEXT NOT NULL,
  version TEXT NOT NULL,
  sha256 TEXT NOT NULL,
  said REAL,
  why TEXT NOT NULL,
  ms REAL NOT NULL,
  at_us INTEGER NOT NULL,
  PRIMARY KEY (event_id, model, version),
  CHECK ((said IS NULL) = (why <> ''))
) STRICT, WITHOUT ROWID;

CREATE TABLE shadow_mark (
  model TEXT PRIMARY KEY,
  version TEXT NOT NULL,
  seq INTEGER NOT NULL,
  trouble TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- What people (and sources) did is little beside what the agent does: labels are read from it (labels.py).
CREATE INDEX audit_of_others ON audit (seq) WHERE actor <> 'agent';
"""

VERSION_4 = """
-- Postings of one decision that are sent one after the other (groups.py): the first of its group, and its place in it.
CREATE TABLE member (posting_id INTEGER PRIMARY KEY, first INTEGER NOT NULL, place INTEGER NOT NULL) STRICT;
CREATE INDEX member_first ON member (first, place);
"""

VERSION_5 = """
-- What the agent noticed or was asked is decided before any backlog of others.
CREATE INDEX event_of_the_agent ON event (id) WHERE state = 'undecided' AND source = 'gatepost';
"""

VERSION_6 = """
-- What people were told last about which cause (notices.py); due_us: then who is next is told, unless somebody reacted.
CREATE TABLE notice (
  target TEXT NOT NULL,
  cause TEXT NOT NULL,
  posting_id INTEGER NOT NULL,
  at_us INTEGER NOT NULL,
  due_us INTEGER,
  PRIMARY KEY (target, cause)
) STRICT, WITHOUT ROWID;
CREATE INDEX notice_due ON notice (due_us) WHERE due_us IS NOT NULL;
"""

VERSION_7 = """
-- Of a challenger that tells classes: the probability of each, as JSON, in the order of its manifest.
ALTER TABLE shadow ADD COLUMN outputs TEXT NOT NULL DEFAULT '[]';
"""

VERSION_8 = """
-- What takes a document back, by the key of the posting that booked it (trace.py).
CREATE INDEX posting_takes_back ON posting (json_extract(payload, '$.of_key')) WHERE kind = 'reversal';
"""

VERSION_9 = """
-- What keeps a lot from use (kept.py): somebody is to say what becomes of it.
CREATE INDEX posting_keeps ON posting (id) WHERE kind = 'stock_transfer' OR kind = 'batch_status';
"""

VERSION_10 = """
-- A document is taken back once: whoever asks again does so after the one before was refused or only simulated.
CREATE TRIGGER taken_back_once_asked BEFORE INSERT ON posting
WHEN new.kind = 'reversal' AND new.state <> 'held'
AND EXISTS (SELECT 1 FROM posting WHERE kind = 'reversal'
  AND json_extract(payload, '$.of_key') = json_extract(new.payload, '$.of_key')
  AND state <> 'held' AND state <> 'refused' AND state <> 'superseded' AND state <> 'simulated')
BEGIN SELECT raise(ABORT, 'a document is taken back once'); END;
CREATE TRIGGER taken_back_once_signed BEFORE UPDATE OF state ON posting
WHEN new.kind = 'reversal' AND old.state = 'held' AND new.state = 'ready'
AND EXISTS (SELECT 1 FROM posting WHERE kind = 'reversal' AND id <> new.id
  AND json_extract(payload, '$.of_key') = json_extract(new.payload, '$.of_key')
  AND state <> 'held' AND state <> 'refused' AND state <> 'superseded' AND state <> 'simulated')
BEGIN SELECT raise(ABORT, 'a document is taken back once'); END;
"""

MIGRATIONS = (
    VERSION_1, VERSION_2, VERSION_3, VERSION_4, VERSION_5, VERSION_6, VERSION_7, VERSION_8, VERSION_9, VERSION_10,
)  # fmt: skip
"""Each entry moves the file from version i to i + 1. Only additions: the release before can still read the file."""


def require_library() -> None:
    """Refuse a SQLite library with the WAL-reset corruption bug. Raises StoreUnfit."""
    version = tuple(int(part) for part in apsw.sqlite_lib_version().split("."))
    if version < OLDEST_LIBRARY:
        raise StoreUnfit(
            f"SQLite {apsw.sqlite_lib_version()} can corrupt a write-ahead log (bug of 3.7.0 to 3.51.2); "
            f"3.51.3 or newer is needed: install the pinned apsw wheel (pip install --require-hashes)"
        )


def migrate(connection: apsw.Connection) -> None:
    """Bring the file to the newest version, each step in a transaction of its own. Raises StoreUnfit."""
    found = int(connection.pragma("user_version"))
    owner = int(connection.pragma("application_id"))
    if owner not in (0, APPLICATION_ID) or (owner == 0 and (found or _has_tables(connection))):
        raise StoreUnfit(f"{connection.filename}: not a Gatepost store (application_id {owner:#x}); name another file")
    if found > len(MIGRATIONS) and not _readable_by_older(connection):
        raise StoreUnfit(
            f"{connection.filename}: written by a newer release (version {found}, this one knows {len(MIGRATIONS)}); "
            f"install that release again"
        )
    for version in range(found, len(MIGRATIONS)):
        with connection:
            connection.execute(MIGRATIONS[version])
            connection.pragma("application_id", APPLICATION_ID)
            connection.pragma("user_version", version + 1)


def _has_tables(connection: apsw.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_schema LIMIT 1").fetchone() is not None


def _readable_by_older(connection: apsw.Connection) -> bool:
    """Whether the newer release that wrote the file said that this version may still work on it."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'oldest_reader'").fetchone()
    return row is not None and int(row[0]) <= len(MIGRATIONS)
