-- A database that turned out to be older than what has left the box goes on under another epoch, as one that was
-- restored does ("file" is empty then). ``told`` says what was found, ``settled_ns`` of its doubt when it was over.

ALTER TABLE restored ADD COLUMN told TEXT NOT NULL DEFAULT '';
ALTER TABLE restored_operation ADD COLUMN note TEXT NOT NULL DEFAULT '';

CREATE TABLE doubt (
    restored INTEGER PRIMARY KEY,
    complete INTEGER NOT NULL,
    settled_ns INTEGER,
    outcome TEXT NOT NULL DEFAULT ''
) STRICT;

-- What left the box, and this database does not know. ``found`` is what the target says: booked, absent, or nothing yet.
CREATE TABLE doubt_sent (
    restored INTEGER NOT NULL,
    target TEXT NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    name TEXT NOT NULL,
    good TEXT NOT NULL,
    scrap TEXT NOT NULL,
    rework TEXT NOT NULL,
    found TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (restored, target, key)
) STRICT, WITHOUT ROWID;
