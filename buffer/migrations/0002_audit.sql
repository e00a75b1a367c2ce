-- Audit: what persons told the gateway to do, and how it ended. Rows are only ever added.

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    actor TEXT NOT NULL CHECK (length(actor) > 0),
    action TEXT NOT NULL CHECK (length(action) > 0),
    entity TEXT NOT NULL,
    old TEXT,
    new TEXT,
    reason TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL CHECK (length(outcome) > 0),
    detail TEXT NOT NULL DEFAULT '',
    -- The row of the attempt, where this one says how it ended.
    about INTEGER REFERENCES audit (seq)
) STRICT;

CREATE TRIGGER audit_is_immutable BEFORE UPDATE ON audit
BEGIN
    SELECT RAISE(ABORT, 'an audit row never changes');
END;

CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
BEGIN
    SELECT RAISE(ABORT, 'an audit row is never deleted');
END;

-- INSERT OR REPLACE would delete without asking the trigger above.
CREATE TRIGGER audit_is_not_replaced BEFORE INSERT ON audit
WHEN EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
BEGIN
    SELECT RAISE(ABORT, 'an audit row is never replaced');
END;

CREATE TRIGGER audit_time_seen AFTER INSERT ON audit
BEGIN
    UPDATE meta SET last_time_ns = max(last_time_ns, NEW.at_ns);
END;
