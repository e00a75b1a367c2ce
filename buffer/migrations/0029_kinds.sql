-- Postings of one kind, newest first: where there are none of it nobody reads through the whole outbox. Those of the
-- usual kind lie everywhere, and cost nothing more.

CREATE INDEX outbox_kinds ON outbox (kind, id) WHERE kind <> 'partial';
