-- Which decision was taken under which Idempotency-Key, and its answer. A row without an answer is one whose decision
-- was committed right before the gateway ended: nobody was told of it yet.

CREATE TABLE api_replay (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    digest BLOB NOT NULL,
    at_ns INTEGER NOT NULL,
    status INTEGER,
    media_type TEXT,
    body BLOB,
    PRIMARY KEY (user, key)
) STRICT, WITHOUT ROWID;

CREATE INDEX api_replay_at ON api_replay (at_ns);
