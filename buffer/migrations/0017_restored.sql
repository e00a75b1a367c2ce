-- A database that was restored from a copy goes on under another epoch. Its audit trail keeps the name that it began
-- with ("": that of the epoch).

ALTER TABLE meta ADD COLUMN chain TEXT NOT NULL DEFAULT '';

-- The first confirmation of these operations after a restore waits for a person: what was sent since the copy was made,
-- this database does not know.
CREATE TABLE restored_operation (
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    PRIMARY KEY (order_id, operation)
) STRICT, WITHOUT ROWID;

CREATE TABLE restored (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    file TEXT NOT NULL,
    epoch_before TEXT NOT NULL,
    epoch TEXT NOT NULL,
    set_aside TEXT NOT NULL,
    postings INTEGER NOT NULL,
    operations INTEGER NOT NULL
) STRICT;

CREATE TRIGGER restored_is_immutable BEFORE UPDATE ON restored
BEGIN
    SELECT RAISE(ABORT, 'that a database was restored never changes');
END;

CREATE TRIGGER restored_is_kept BEFORE DELETE ON restored
BEGIN
    SELECT RAISE(ABORT, 'that a database was restored is never forgotten');
END;
