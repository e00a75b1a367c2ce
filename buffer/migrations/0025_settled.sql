-- Differences that a person has settled: what was found then, who says that it is settled, and why. Rows are only added;
-- they go with their order.

CREATE TABLE reconciliation_settled (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    -- Code, difference and keys of the finding: another one is not settled by it.
    finding TEXT NOT NULL CHECK (length(finding) > 0),
    at_ns INTEGER NOT NULL,
    who TEXT NOT NULL CHECK (length(trim(who)) > 0),
    reason TEXT NOT NULL CHECK (length(trim(reason)) > 0)
) STRICT;

CREATE UNIQUE INDEX reconciliation_settled_once ON reconciliation_settled (order_id, operation, finding);

CREATE TRIGGER reconciliation_settled_is_immutable BEFORE UPDATE ON reconciliation_settled
BEGIN
    SELECT RAISE(ABORT, 'what a person settled never changes');
END;
