-- What a target booked last, and the few postings that stand still among very many that wait or are booked, are found
-- without reading the whole outbox.

DROP INDEX outbox_posted;
CREATE INDEX outbox_posted ON outbox (target, settled_ns) WHERE state = 'posted';

DROP INDEX outbox_parked;
DROP INDEX outbox_held;
CREATE INDEX outbox_standing ON outbox (state, id)
WHERE state IN ('needs_approval', 'held', 'accepted', 'uncertain', 'retry_wait', 'parked');
