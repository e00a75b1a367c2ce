-- Figures of the buffer: answers to orders counted apart, and how the file and the outbox grew.

-- outbox_tally counts confirmations and answers together; this is the part of the answers. Never counted down but by
-- a change of state, like outbox_tally itself.
CREATE TABLE answer_tally (
    target TEXT NOT NULL,
    state TEXT NOT NULL,
    postings INTEGER NOT NULL,
    PRIMARY KEY (target, state)
) STRICT, WITHOUT ROWID;

INSERT INTO answer_tally (target, state, postings)
SELECT target, state, count(*) FROM outbox WHERE kind = 'ack' GROUP BY target, state;

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

-- One row a minute for an hour, one an hour for a day: what the rates and the time until full are told from.
CREATE TABLE size_sample (
    at_ns INTEGER PRIMARY KEY,
    used_bytes INTEGER NOT NULL,
    max_bytes INTEGER NOT NULL
) STRICT;

-- made: postings that ever were; settled: of these, those that are over.
CREATE TABLE target_sample (
    at_ns INTEGER NOT NULL,
    target TEXT NOT NULL,
    made INTEGER NOT NULL,
    settled INTEGER NOT NULL,
    PRIMARY KEY (at_ns, target)
) STRICT, WITHOUT ROWID;
