-- Confirmations that wait for their window or for an approval, and those that were made void before they were sent; the
-- times of the event and of its derivation. A check of a column cannot be changed: the table is made anew.

CREATE TABLE outbox_new (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    target TEXT NOT NULL,
    key TEXT NOT NULL,
    message_id TEXT NOT NULL,
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    seq INTEGER NOT NULL CHECK (seq > 0),
    kind TEXT NOT NULL,
    payload BLOB NOT NULL,
    body BLOB,
    content_type TEXT,
    name TEXT,
    state TEXT NOT NULL DEFAULT 'ready' CHECK (
        state IN (
            'needs_approval', 'held', 'ready', 'sending', 'accepted', 'posted', 'uncertain', 'retry_wait', 'parked',
            'superseded', 'voided'
        )
    ),
    head INTEGER NOT NULL DEFAULT 0 CHECK (head IN (0, 1)),
    attempts INTEGER NOT NULL DEFAULT 0,
    lookups INTEGER NOT NULL DEFAULT 0,
    due_ns INTEGER NOT NULL,
    first_sent_ns INTEGER,
    last_sent_ns INTEGER,
    unclear_ns INTEGER,
    settled_ns INTEGER,
    reference TEXT NOT NULL DEFAULT '',
    error_kind TEXT NOT NULL DEFAULT '',
    error_code TEXT NOT NULL DEFAULT '',
    error_text TEXT NOT NULL DEFAULT '',
    error_since_ns INTEGER,
    error_count INTEGER NOT NULL DEFAULT 0,
    created_ns INTEGER NOT NULL,
    event_ns INTEGER,
    derived_ns INTEGER,
    UNIQUE (target, key),
    UNIQUE (target, order_id, operation, seq),
    CHECK (state NOT IN ('sending', 'uncertain', 'accepted', 'posted') OR body IS NOT NULL),
    CHECK ((body IS NULL) = (content_type IS NULL) AND (body IS NULL) = (name IS NULL))
) STRICT;


INSERT INTO outbox_new (
    id, target, key, message_id, order_id, operation, seq, kind, payload, body, content_type, name, state, head,
    attempts, lookups, due_ns, first_sent_ns, last_sent_ns, unclear_ns, settled_ns, reference, error_kind, error_code,
    error_text, error_since_ns, error_count, created_ns
)
SELECT id, target, key, message_id, order_id, operation, seq, kind, payload, body, content_type, name, state, head,
    attempts, lookups, due_ns, first_sent_ns, last_sent_ns, unclear_ns, settled_ns, reference, error_kind, error_code,
    error_text, error_since_ns, error_count, created_ns
FROM outbox;

-- A number is never given twice, also where the newest postings were pruned.
DELETE FROM sqlite_sequence WHERE name = 'outbox_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox_new', seq FROM sqlite_sequence WHERE name = 'outbox';

DROP TABLE outbox;
ALTER TABLE outbox_new RENAME TO outbox;

-- head = 1: the oldest open posting of its lane (target, order, operation). Only heads are ever sent.
CREATE INDEX outbox_due ON outbox (target, due_ns, id)
WHERE head = 1 AND state IN ('held', 'ready', 'retry_wait', 'uncertain', 'accepted');
CREATE INDEX outbox_heads ON outbox (target, id) WHERE head = 1;
CREATE INDEX outbox_lane ON outbox (target, order_id, operation, id) WHERE state NOT IN ('posted', 'superseded', 'voided');
CREATE INDEX outbox_parked ON outbox (target, id) WHERE state = 'parked';
CREATE INDEX outbox_posted ON outbox (settled_ns) WHERE state = 'posted';


CREATE INDEX outbox_held ON outbox (target, id) WHERE state IN ('held', 'needs_approval');

CREATE TRIGGER outbox_is_in_sequence BEFORE INSERT ON outbox
WHEN EXISTS (
    SELECT 1 FROM outbox
    WHERE target = NEW.target AND order_id = NEW.order_id AND operation = NEW.operation AND seq > NEW.seq
)
BEGIN
    SELECT RAISE(ABORT, 'a later confirmation of this order and operation is already in the outbox');
END;

CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox
BEGIN
    UPDATE outbox SET head = 1
    WHERE id = NEW.id AND NEW.state <> 'voided' AND NOT EXISTS (
        SELECT 1 FROM outbox
        WHERE target = NEW.target AND order_id = NEW.order_id AND operation = NEW.operation AND id < NEW.id
            AND state NOT IN ('posted', 'superseded', 'voided')
    );
    INSERT INTO outbox_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER outbox_state_changed AFTER UPDATE OF state ON outbox WHEN NEW.state <> OLD.state
BEGIN
    UPDATE outbox_tally SET postings = postings - 1 WHERE target = OLD.target AND state = OLD.state;
    INSERT INTO outbox_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER outbox_head_left AFTER UPDATE OF state ON outbox
WHEN NEW.state IN ('posted', 'superseded', 'voided') AND OLD.state NOT IN ('posted', 'superseded', 'voided')
BEGIN
    UPDATE outbox SET head = 0 WHERE id = NEW.id;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND order_id = NEW.order_id AND operation = NEW.operation
            AND state NOT IN ('posted', 'superseded', 'voided')
    );
END;

-- The steady clock must start above every time that was ever written, also by the forwarder.
CREATE TRIGGER outbox_time_seen AFTER UPDATE OF state ON outbox
BEGIN
    UPDATE meta SET last_time_ns = max(
        last_time_ns, coalesce(NEW.last_sent_ns, 0), coalesce(NEW.unclear_ns, 0), coalesce(NEW.settled_ns, 0)
    );
END;

CREATE TRIGGER outbox_posted_is_final BEFORE UPDATE OF state ON outbox
WHEN OLD.state IN ('posted', 'superseded', 'voided') AND NEW.state <> OLD.state
BEGIN
    SELECT RAISE(ABORT, 'a posted, superseded or voided posting never changes its state');
END;

CREATE TRIGGER outbox_identity_is_immutable
BEFORE UPDATE OF id, target, key, message_id, order_id, operation, seq, kind, payload, created_ns, event_ns, derived_ns
ON outbox
BEGIN
    SELECT RAISE(ABORT, 'key and content of a posting never change');
END;

CREATE TRIGGER outbox_message_is_immutable BEFORE UPDATE OF body, content_type, name ON outbox
WHEN OLD.body IS NOT NULL
    AND (NEW.body IS NOT OLD.body OR NEW.content_type IS NOT OLD.content_type OR NEW.name IS NOT OLD.name)
BEGIN
    SELECT RAISE(ABORT, 'the message of a posting never changes once it is fixed');
END;

CREATE TRIGGER outbox_keeps_unposted BEFORE DELETE ON outbox WHEN OLD.state <> 'posted'
BEGIN
    SELECT RAISE(ABORT, 'only posted postings may be deleted');
END;
