-- Notices that were not made because too many wait for the target; the next one that is made says so.

CREATE TABLE notice_left_out (
    target TEXT NOT NULL,
    type TEXT NOT NULL,
    notices INTEGER NOT NULL CHECK (notices > 0),
    PRIMARY KEY (target, type)
) STRICT, WITHOUT ROWID;
