-- Notices to an ERP: their numbers by target and order, and the sums of them apart from those of confirmations.

CREATE TABLE notice_head (
    target TEXT NOT NULL,
    order_id TEXT NOT NULL,
    last_seq INTEGER NOT NULL CHECK (last_seq > 0),
    PRIMARY KEY (target, order_id)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER notice_head_counts_up BEFORE UPDATE ON notice_head WHEN NEW.last_seq <= OLD.last_seq
BEGIN
    SELECT RAISE(ABORT, 'the number of a notice is given once');
END;

-- outbox_tally counts everything; this is the part of the notices.
CREATE TABLE notice_tally (
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    postings INTEGER NOT NULL,
    PRIMARY KEY (target, state)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER notice_inserted AFTER INSERT ON outbox WHEN NEW.kind = 'notice'
BEGIN
    INSERT INTO notice_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

CREATE TRIGGER notice_state_changed AFTER UPDATE OF state ON outbox WHEN NEW.kind = 'notice' AND NEW.state <> OLD.state
BEGIN
    UPDATE notice_tally SET postings = postings - 1 WHERE target = OLD.target AND state = OLD.state;
    INSERT INTO notice_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;
