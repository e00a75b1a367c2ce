-- Serial numbers of pieces, at each operation that they passed: written with the step that read them.

CREATE TABLE serial (
    serial TEXT NOT NULL,
    item TEXT NOT NULL,
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    -- The columns of the key come first, in its order: the check of an older SQLite mistakes others for NULL.
    at_ns INTEGER NOT NULL,
    machine TEXT NOT NULL,
    PRIMARY KEY (serial, item, order_id, operation, at_ns)
) STRICT, WITHOUT ROWID;

CREATE INDEX serial_order ON serial (order_id);
