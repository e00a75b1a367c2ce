-- Reconciliation: the last reports, what the last one said of each operation, and postings that a person sends again.

CREATE TABLE reconciliation_report (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    cause TEXT NOT NULL CHECK (length(cause) > 0),
    findings INTEGER NOT NULL,
    document BLOB NOT NULL
) STRICT;

CREATE TRIGGER reconciliation_report_is_immutable BEFORE UPDATE ON reconciliation_report
BEGIN
    SELECT RAISE(ABORT, 'a reconciliation report never changes');
END;

-- Somebody who asks again and again must not fill the disk.
CREATE TRIGGER reconciliation_reports_are_bounded AFTER INSERT ON reconciliation_report
BEGIN
    DELETE FROM reconciliation_report WHERE number <= NEW.number - 500;
END;

CREATE TRIGGER reconciliation_time_seen AFTER INSERT ON reconciliation_report
BEGIN
    UPDATE meta SET last_time_ns = max(last_time_ns, NEW.at_ns);
END;

CREATE TABLE reconciled (
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    codes TEXT NOT NULL,
    PRIMARY KEY (order_id, operation)
) STRICT, WITHOUT ROWID;

-- A booked posting that the ERP has lost is sent again by a person's word only, with the same key and the same bytes.
ALTER TABLE outbox ADD COLUMN resends INTEGER NOT NULL DEFAULT 0;

CREATE TABLE outbox_resend (
    posting INTEGER NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    at_ns INTEGER NOT NULL,
    who TEXT NOT NULL CHECK (length(who) > 0),
    reason TEXT NOT NULL CHECK (length(trim(reason)) > 0),
    PRIMARY KEY (posting, number)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER outbox_resend_is_immutable BEFORE UPDATE ON outbox_resend
BEGIN
    SELECT RAISE(ABORT, 'that a posting was sent again never changes');
END;

CREATE TRIGGER outbox_resend_is_kept BEFORE DELETE ON outbox_resend
WHEN EXISTS (SELECT 1 FROM outbox WHERE id = OLD.posting)
BEGIN
    SELECT RAISE(ABORT, 'that a posting was sent again is kept as long as the posting');
END;

CREATE TRIGGER outbox_resend_goes_along AFTER DELETE ON outbox
WHEN OLD.resends > 0
BEGIN
    DELETE FROM outbox_resend WHERE posting = OLD.id;
END;

DROP TRIGGER outbox_posted_is_final;
CREATE TRIGGER outbox_posted_is_final BEFORE UPDATE OF state ON outbox
WHEN OLD.state IN ('posted', 'superseded', 'voided') AND NEW.state <> OLD.state AND NOT (
    OLD.state = 'posted' AND NEW.state = 'ready' AND NEW.resends = OLD.resends + 1
    AND EXISTS (SELECT 1 FROM outbox_resend WHERE posting = OLD.id AND number = NEW.resends)
)
BEGIN
    SELECT RAISE(ABORT, 'a posted, superseded or voided posting never changes its state');
END;

CREATE TRIGGER outbox_resends_count_up BEFORE UPDATE OF resends ON outbox
WHEN NEW.resends <> OLD.resends
    AND NOT (OLD.state = 'posted' AND NEW.state = 'ready' AND NEW.resends = OLD.resends + 1)
BEGIN
    SELECT RAISE(ABORT, 'how often a posting was sent again counts up when it is');
END;

-- It is the oldest open one of its lane again, or behind one that is older.
CREATE TRIGGER outbox_head_back AFTER UPDATE OF state ON outbox
WHEN OLD.state = 'posted' AND NEW.state = 'ready'
BEGIN
    UPDATE outbox SET head = 0
    WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation AND head = 1;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation
            AND state NOT IN ('posted', 'superseded', 'voided')
    );
END;
