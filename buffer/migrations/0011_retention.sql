-- Retention: when a job order was last changed, what is left of one that is forgotten, and how far the journal is pruned.

ALTER TABLE job ADD COLUMN seq INTEGER NOT NULL DEFAULT 0;
ALTER TABLE job ADD COLUMN state TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN image_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE job ADD COLUMN changed_ns INTEGER NOT NULL DEFAULT 0;

UPDATE job SET
    seq = json_extract(CAST(record AS TEXT), '$.seq'),
    state = json_extract(CAST(record AS TEXT), '$.state'),
    image_digest = coalesce(json_extract(CAST(record AS TEXT), '$.job.image_digest'), ''),
    -- When it was changed is not known: it begins to grow old now.
    changed_ns = (SELECT coalesce(max(last_time_ns), 0) FROM meta);

CREATE INDEX job_state ON job (state, changed_ns);
CREATE INDEX job_image ON job (image_digest) WHERE image_digest <> '';

-- The last number and hash outlive their job order: no key is given out twice, and the chain goes on.
CREATE TABLE job_number (
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    last_hash TEXT NOT NULL,
    revision INTEGER NOT NULL,
    forgotten_ns INTEGER NOT NULL,
    PRIMARY KEY (order_id, operation)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER job_number_is_kept BEFORE DELETE ON job_number
BEGIN
    SELECT RAISE(ABORT, 'the last number of a job order is never deleted');
END;

CREATE TRIGGER job_number_only_grows BEFORE UPDATE ON job_number
WHEN NEW.seq < OLD.seq OR NEW.order_id <> OLD.order_id OR NEW.operation <> OLD.operation
BEGIN
    SELECT RAISE(ABORT, 'the last number of a job order never goes back');
END;

-- A job order that has given out a number leaves it behind.
CREATE TRIGGER job_leaves_its_number BEFORE DELETE ON job
WHEN OLD.seq > 0 AND NOT EXISTS (
    SELECT 1 FROM job_number
    WHERE order_id = OLD.order_id AND operation = OLD.operation AND seq >= OLD.seq
)
BEGIN
    SELECT RAISE(ABORT, 'a job order is forgotten only when its last number is kept');
END;

-- Up to this row nothing of the class is left; before_ns: nothing that is older.
CREATE TABLE journal_pruned (
    work_unit TEXT NOT NULL,
    class TEXT NOT NULL,
    seq INTEGER NOT NULL,
    before_ns INTEGER NOT NULL,
    PRIMARY KEY (work_unit, class)
) STRICT, WITHOUT ROWID;

CREATE INDEX genealogy_run ON genealogy (run);

-- What was made void never leaves, so it may be deleted like what was booked.
CREATE INDEX outbox_voided ON outbox (settled_ns) WHERE state = 'voided';
DROP TRIGGER outbox_keeps_unposted;
CREATE TRIGGER outbox_keeps_unposted BEFORE DELETE ON outbox WHEN OLD.state NOT IN ('posted', 'voided')
BEGIN
    SELECT RAISE(ABORT, 'only posted postings, or void ones, may be deleted');
END;
