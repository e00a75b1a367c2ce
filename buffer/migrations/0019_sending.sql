-- What was being sent when the process ended is found at the next start without reading the whole outbox.

CREATE INDEX outbox_sending ON outbox (id) WHERE state = 'sending';
