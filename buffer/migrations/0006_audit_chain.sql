-- Audit trail: who did what, when and why, as a chain of hashes. Rows are only ever added, each right behind the last.

CREATE TABLE audit_entry (
    seq INTEGER PRIMARY KEY CHECK (seq > 0),
    at_ns INTEGER NOT NULL,
    utc_ns INTEGER NOT NULL,
    time_quality INTEGER NOT NULL,
    utc_offset_s INTEGER NOT NULL,
    time_zone TEXT NOT NULL,
    user TEXT NOT NULL CHECK (length(user) > 0),
    role TEXT NOT NULL CHECK (length(role) > 0),
    auth TEXT NOT NULL,
    client TEXT NOT NULL,
    action TEXT NOT NULL CHECK (length(action) > 0),
    change TEXT NOT NULL CHECK (change IN ('event', 'create', 'modify', 'delete')),
    entity TEXT NOT NULL CHECK (length(entity) > 0),
    entity_id TEXT NOT NULL,
    field TEXT NOT NULL,
    old TEXT,
    new TEXT,
    outcome TEXT NOT NULL CHECK (length(outcome) > 0),
    detail TEXT NOT NULL,
    reason_code TEXT NOT NULL,
    reason_text TEXT NOT NULL,
    order_id TEXT NOT NULL,
    config_version TEXT NOT NULL,
    sw_version TEXT NOT NULL,
    prev_hash TEXT NOT NULL CHECK (length(prev_hash) = 64),
    hash TEXT NOT NULL CHECK (length(hash) = 64),
    form INTEGER NOT NULL,
    -- What is recorded is not changed without saying why; what was refused changed nothing.
    CHECK (
        change NOT IN ('modify', 'delete') OR outcome = 'refused' OR length(trim(reason_code || reason_text)) > 0
    )
) STRICT;

CREATE INDEX audit_entry_order ON audit_entry (order_id, seq) WHERE order_id <> '';

CREATE TRIGGER audit_entry_is_immutable BEFORE UPDATE ON audit_entry
BEGIN
    SELECT RAISE(ABORT, 'an audit entry never changes');
END;

CREATE TRIGGER audit_entry_is_kept BEFORE DELETE ON audit_entry
BEGIN
    SELECT RAISE(ABORT, 'an audit entry is never deleted');
END;

-- This also refuses INSERT OR REPLACE, which would delete without asking the trigger above.
CREATE TRIGGER audit_entry_is_the_next BEFORE INSERT ON audit_entry
WHEN NEW.seq IS NOT 1 + coalesce((SELECT max(seq) FROM audit_entry), 0)
BEGIN
    SELECT RAISE(ABORT, 'the audit entry is not the next one of the chain');
END;

CREATE TRIGGER audit_entry_is_linked BEFORE INSERT ON audit_entry
WHEN NEW.prev_hash IS NOT (SELECT hash FROM audit_entry ORDER BY seq DESC LIMIT 1) AND NEW.seq > 1
BEGIN
    SELECT RAISE(ABORT, 'the audit entry does not carry the hash of the one before');
END;

CREATE TRIGGER audit_entry_time_seen AFTER INSERT ON audit_entry
BEGIN
    UPDATE meta SET last_time_ns = max(last_time_ns, NEW.at_ns);
END;

-- What was published of the chain. It helps to see a cut in this file; the proof is what stands outside of it.

CREATE TABLE audit_anchor (
    seq INTEGER PRIMARY KEY,
    hash TEXT NOT NULL,
    day TEXT NOT NULL CHECK (length(day) = 10),
    at_ns INTEGER NOT NULL
) STRICT;

CREATE TRIGGER audit_anchor_is_an_entry BEFORE INSERT ON audit_anchor
WHEN NOT EXISTS (SELECT 1 FROM audit_entry WHERE seq = NEW.seq AND hash = NEW.hash)
BEGIN
    SELECT RAISE(ABORT, 'the anchor is not an audit entry');
END;

CREATE TRIGGER audit_anchor_is_not_replaced BEFORE INSERT ON audit_anchor
WHEN EXISTS (SELECT 1 FROM audit_anchor WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'an anchor is never replaced');
END;

CREATE TRIGGER audit_anchor_is_immutable BEFORE UPDATE ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'an anchor never changes');
END;

CREATE TRIGGER audit_anchor_is_kept BEFORE DELETE ON audit_anchor
BEGIN
    SELECT RAISE(ABORT, 'an anchor is never deleted');
END;

-- How the run before ended is asked at each start.
CREATE INDEX audit_entry_runs ON audit_entry (seq) WHERE action IN ('gateway_started', 'gateway_stopped');

-- What was taken into the trail from elsewhere: the last number of each list.

CREATE TABLE audit_taken (
    source TEXT PRIMARY KEY,
    number INTEGER NOT NULL
) STRICT;

-- The settings that were in force last, to say what is different; packed JSON of names and values, without secrets.

CREATE TABLE audit_settings (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    digest TEXT NOT NULL,
    document BLOB NOT NULL
) STRICT;
