-- Postings of several steps: each message a row, its reference kept before the next one leaves. What is delivered, and
-- never known to be booked. What was accepted and lets the next one of its lane go. What a person has released.
-- A check of a column cannot be changed: the table is made anew.

DROP TRIGGER outbox_resend_is_kept;

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
            'superseded', 'voided', 'delivered'
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
    lane_order TEXT NOT NULL DEFAULT '',
    resends INTEGER NOT NULL DEFAULT 0,
    -- The step that is due, from 0; body and name above are those of step 0. Up to left_step a message may have left.
    step INTEGER NOT NULL DEFAULT 0 CHECK (step >= 0),
    steps INTEGER NOT NULL DEFAULT 1,
    left_step INTEGER NOT NULL DEFAULT 0,
    released INTEGER NOT NULL DEFAULT 0 CHECK (released IN (0, 1)),
    -- 1: it is accepted, and the next one of its lane goes all the same.
    passed INTEGER NOT NULL DEFAULT 0 CHECK (passed IN (0, 1)),
    UNIQUE (target, key),
    UNIQUE (target, order_id, operation, seq),
    CHECK (state NOT IN ('sending', 'uncertain', 'accepted', 'posted', 'delivered') OR body IS NOT NULL),
    CHECK (step < steps),
    CHECK (passed = 0 OR state = 'accepted'),
    CHECK ((body IS NULL) = (content_type IS NULL) AND (body IS NULL) = (name IS NULL))
) STRICT;

INSERT INTO outbox_new (
    id, target, key, message_id, order_id, operation, seq, kind, payload, body, content_type, name, state, head,
    attempts, lookups, due_ns, first_sent_ns, last_sent_ns, unclear_ns, settled_ns, reference, error_kind,
    error_code, error_text, error_since_ns, error_count, created_ns, event_ns, derived_ns, lane_order, resends
)
SELECT
    id, target, key, message_id, order_id, operation, seq, kind, payload, body, content_type, name, state, head,
    attempts, lookups, due_ns, first_sent_ns, last_sent_ns, unclear_ns, settled_ns, reference, error_kind,
    error_code, error_text, error_since_ns, error_count, created_ns, event_ns, derived_ns, lane_order, resends
FROM outbox;

-- A number is never given twice, also where the newest postings were pruned.
DELETE FROM sqlite_sequence WHERE name = 'outbox_new';
INSERT INTO sqlite_sequence (name, seq) SELECT 'outbox_new', seq FROM sqlite_sequence WHERE name = 'outbox';

DROP TABLE outbox;
ALTER TABLE outbox_new RENAME TO outbox;

CREATE INDEX outbox_due ON outbox (target, due_ns, id)
WHERE head = 1 AND state IN ('held', 'ready', 'retry_wait', 'uncertain', 'accepted');

CREATE INDEX outbox_heads ON outbox (target, id) WHERE head = 1;

CREATE INDEX outbox_lane ON outbox (target, lane_order, operation, id)
WHERE state NOT IN ('posted', 'delivered', 'superseded', 'voided');

CREATE INDEX outbox_posted ON outbox (target, settled_ns) WHERE state = 'posted';

CREATE INDEX outbox_sending ON outbox (id) WHERE state = 'sending';

CREATE INDEX outbox_standing ON outbox (state, id)
WHERE state IN ('needs_approval', 'held', 'accepted', 'uncertain', 'retry_wait', 'parked');

CREATE INDEX outbox_tried ON outbox (target, due_ns, id)
WHERE head = 1 AND state IN ('retry_wait', 'uncertain', 'accepted');

CREATE INDEX outbox_voided ON outbox (settled_ns) WHERE state = 'voided';

CREATE INDEX outbox_delivered ON outbox (target, settled_ns) WHERE state = 'delivered';

CREATE TRIGGER answer_inserted AFTER INSERT ON outbox WHEN NEW.kind = 'ack'
BEGIN
    INSERT INTO answer_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER answer_state_changed AFTER UPDATE OF state ON outbox WHEN NEW.kind = 'ack' AND NEW.state <> OLD.state
BEGIN
    UPDATE answer_tally SET postings = postings - 1 WHERE target = OLD.target AND state = OLD.state;
    INSERT INTO answer_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER outbox_answer_goes_along AFTER DELETE ON outbox
BEGIN
    DELETE FROM outbox_answer WHERE posting = OLD.id;
END;

CREATE TRIGGER outbox_head_back AFTER UPDATE OF state ON outbox
WHEN OLD.state IN ('posted', 'delivered') AND NEW.state IN ('ready', 'uncertain')
BEGIN
    UPDATE outbox SET head = 0
    WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation AND head = 1 AND passed = 0;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation
            AND state NOT IN ('posted', 'delivered', 'superseded', 'voided') AND passed = 0
    );
END;

CREATE TRIGGER outbox_head_left AFTER UPDATE OF state ON outbox
WHEN NEW.state IN ('posted', 'delivered', 'superseded', 'voided')
    AND OLD.state NOT IN ('posted', 'delivered', 'superseded', 'voided')
BEGIN
    UPDATE outbox SET head = 0 WHERE id = NEW.id;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation
            AND state NOT IN ('posted', 'delivered', 'superseded', 'voided') AND passed = 0
    );
END;

CREATE TRIGGER outbox_identity_is_immutable
BEFORE UPDATE OF id, target, key, message_id, order_id, operation, seq, kind, payload, created_ns, event_ns, derived_ns
ON outbox
BEGIN
    SELECT RAISE(ABORT, 'key and content of a posting never change');
END;

CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox
BEGIN
    UPDATE outbox SET lane_order = NEW.order_id WHERE id = NEW.id AND NEW.lane_order = '';
    UPDATE outbox SET head = 1
    WHERE id = NEW.id AND NEW.state <> 'voided' AND NOT EXISTS (
        SELECT 1 FROM outbox AS other
        WHERE other.target = NEW.target AND other.operation = NEW.operation AND other.id < NEW.id
            AND other.lane_order = CASE NEW.lane_order WHEN '' THEN NEW.order_id ELSE NEW.lane_order END
            AND other.passed = 0 AND other.state NOT IN ('posted', 'delivered', 'superseded', 'voided')
    );
    INSERT INTO outbox_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER outbox_is_in_sequence BEFORE INSERT ON outbox
WHEN EXISTS (
    SELECT 1 FROM outbox
    WHERE target = NEW.target AND order_id = NEW.order_id AND operation = NEW.operation AND seq > NEW.seq
)
BEGIN
    SELECT RAISE(ABORT, 'a later confirmation of this order and operation is already in the outbox');
END;

CREATE TRIGGER outbox_keeps_unposted BEFORE DELETE ON outbox WHEN OLD.state NOT IN ('posted', 'delivered', 'voided')
BEGIN
    SELECT RAISE(ABORT, 'only posted or delivered postings, or void ones, may be deleted');
END;

CREATE TRIGGER outbox_lane_is_immutable BEFORE UPDATE OF lane_order ON outbox
WHEN OLD.lane_order <> '' AND NEW.lane_order <> OLD.lane_order
BEGIN
    SELECT RAISE(ABORT, 'the lane of a posting never changes');
END;

CREATE TRIGGER outbox_message_is_immutable BEFORE UPDATE OF body, content_type, name ON outbox
WHEN OLD.body IS NOT NULL
    AND (NEW.body IS NOT OLD.body OR NEW.content_type IS NOT OLD.content_type OR NEW.name IS NOT OLD.name)
BEGIN
    SELECT RAISE(ABORT, 'the message of a posting never changes once it is fixed');
END;

CREATE TRIGGER outbox_posted_is_final BEFORE UPDATE OF state ON outbox
WHEN OLD.state IN ('posted', 'delivered', 'superseded', 'voided') AND NEW.state <> OLD.state AND NOT (
    OLD.state IN ('posted', 'delivered') AND NEW.state IN ('ready', 'uncertain') AND NEW.resends = OLD.resends + 1
    AND EXISTS (SELECT 1 FROM outbox_resend WHERE posting = OLD.id AND number = NEW.resends)
)
BEGIN
    SELECT RAISE(ABORT, 'a posted, delivered, superseded or voided posting never changes its state');
END;

CREATE TRIGGER outbox_resend_goes_along AFTER DELETE ON outbox
WHEN OLD.resends > 0
BEGIN
    DELETE FROM outbox_resend WHERE posting = OLD.id;
END;

CREATE TRIGGER outbox_resends_count_up BEFORE UPDATE OF resends ON outbox
WHEN NEW.resends <> OLD.resends
    AND NOT (
        OLD.state IN ('posted', 'delivered') AND NEW.state IN ('ready', 'uncertain') AND NEW.resends = OLD.resends + 1
    )
BEGIN
    SELECT RAISE(ABORT, 'how often a posting was sent again counts up when it is');
END;

CREATE TRIGGER outbox_state_changed AFTER UPDATE OF state ON outbox WHEN NEW.state <> OLD.state
BEGIN
    UPDATE outbox_tally SET postings = postings - 1 WHERE target = OLD.target AND state = OLD.state;
    INSERT INTO outbox_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER outbox_time_seen AFTER UPDATE OF state ON outbox
BEGIN
    UPDATE meta SET last_time_ns = max(
        last_time_ns, coalesce(NEW.last_sent_ns, 0), coalesce(NEW.unclear_ns, 0), coalesce(NEW.settled_ns, 0)
    );
END;

CREATE TRIGGER outbox_resend_is_kept BEFORE DELETE ON outbox_resend
WHEN EXISTS (SELECT 1 FROM outbox WHERE id = OLD.posting)
BEGIN
    SELECT RAISE(ABORT, 'that a posting was sent again is kept as long as the posting');
END;

-- What is accepted and lets others go is a head beside the oldest other one of its lane.
CREATE TRIGGER outbox_head_passed AFTER UPDATE OF passed ON outbox WHEN NEW.passed <> OLD.passed
BEGIN
    UPDATE outbox SET head = 0
    WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation AND head = 1 AND passed = 0;
    UPDATE outbox SET head = 1 WHERE id = NEW.id AND NEW.passed = 1;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation
            AND state NOT IN ('posted', 'delivered', 'superseded', 'voided') AND passed = 0
    );
END;

-- The messages of a posting with several steps, or what its target said before a step was sent first.
CREATE TABLE outbox_steps (
    posting INTEGER NOT NULL,
    step INTEGER NOT NULL CHECK (step >= 0),
    -- Of step 0 they stand with the posting.
    body BLOB,
    content_type TEXT,
    name TEXT,
    baseline BLOB,
    accepted TEXT NOT NULL DEFAULT '',
    reference TEXT NOT NULL DEFAULT '',
    sent_ns INTEGER,
    settled_ns INTEGER,
    outcome TEXT NOT NULL DEFAULT '' CHECK (outcome IN ('', 'posted', 'delivered')),
    PRIMARY KEY (posting, step),
    CHECK (step = 0 OR (body IS NOT NULL AND content_type IS NOT NULL AND name IS NOT NULL)),
    CHECK ((settled_ns IS NULL) = (outcome = ''))
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_steps_message_is_immutable
BEFORE UPDATE OF posting, step, body, content_type, name ON outbox_steps
BEGIN
    SELECT RAISE(ABORT, 'the message of a step never changes');
END;

CREATE TRIGGER outbox_steps_are_kept BEFORE DELETE ON outbox_steps
WHEN EXISTS (SELECT 1 FROM outbox WHERE id = OLD.posting)
BEGIN
    SELECT RAISE(ABORT, 'the steps of a posting are kept as long as the posting');
END;

CREATE TRIGGER outbox_steps_go_along AFTER DELETE ON outbox
BEGIN
    DELETE FROM outbox_steps WHERE posting = OLD.id;
END;

-- One step after the other; sent again by a person's word all of them are looked at from the first one on.
CREATE TRIGGER outbox_step_is_the_next BEFORE UPDATE OF step ON outbox
WHEN NEW.step <> OLD.step AND NOT (
    NEW.step = OLD.step + 1 AND EXISTS (
        SELECT 1 FROM outbox_steps WHERE posting = OLD.id AND step = OLD.step AND settled_ns IS NOT NULL
    )
) AND NOT (NEW.step = 0 AND NEW.resends = OLD.resends + 1)
BEGIN
    SELECT RAISE(ABORT, 'a step is due once the one before is booked');
END;

CREATE TRIGGER outbox_steps_are_fixed BEFORE UPDATE OF steps ON outbox
WHEN OLD.body IS NOT NULL AND NEW.steps <> OLD.steps
BEGIN
    SELECT RAISE(ABORT, 'the steps of a posting are fixed with its message');
END;

CREATE TRIGGER outbox_over_with_its_last_step BEFORE UPDATE OF state ON outbox
WHEN NEW.state IN ('posted', 'delivered') AND NEW.step <> NEW.steps - 1
BEGIN
    SELECT RAISE(ABORT, 'a posting is booked once its last step is');
END;

CREATE TRIGGER outbox_partly_booked_is_not_void BEFORE UPDATE OF state ON outbox
WHEN NEW.state = 'voided' AND NEW.step > 0
BEGIN
    SELECT RAISE(ABORT, 'a posting of which a step is booked is never void');
END;
