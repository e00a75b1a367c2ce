-- Answers to orders: what each operation says of an image, until all of them have, and the ERP is told in one message.

CREATE TABLE order_answer (
    target TEXT NOT NULL,
    order_id TEXT NOT NULL,
    operation TEXT NOT NULL,
    revision INTEGER NOT NULL,
    answer BLOB NOT NULL,
    -- The number of the message that told it; NULL: it waits for the other operations.
    told INTEGER,
    PRIMARY KEY (target, order_id, operation)
) STRICT, WITHOUT ROWID;

-- The last number outlives the pruning of its message, so no key is given out twice.
CREATE TABLE order_answer_head (
    target TEXT NOT NULL,
    order_id TEXT NOT NULL,
    last_seq INTEGER NOT NULL,
    PRIMARY KEY (target, order_id)
) STRICT, WITHOUT ROWID;
