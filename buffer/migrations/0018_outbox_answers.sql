-- What the target answered to a posting that it did not book, and the heads that were tried before by when they are due.

CREATE TABLE outbox_answer (
    posting INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    status TEXT NOT NULL,
    headers TEXT NOT NULL,
    body TEXT NOT NULL
) STRICT;

CREATE TRIGGER outbox_answer_goes_along AFTER DELETE ON outbox
BEGIN
    DELETE FROM outbox_answer WHERE posting = OLD.id;
END;

CREATE INDEX outbox_tried ON outbox (target, due_ns, id)
WHERE head = 1 AND state IN ('retry_wait', 'uncertain', 'accepted');
