-- Which lot went into which product, as each confirmation told it; written with it.

CREATE TABLE genealogy (
    id INTEGER PRIMARY KEY,
    parent_kind TEXT NOT NULL,
    parent_item TEXT NOT NULL,
    parent TEXT NOT NULL,
    child_kind TEXT NOT NULL,
    child_item TEXT NOT NULL,
    child TEXT NOT NULL,
    -- An exact fraction, numerator/denominator, of any size.
    quantity TEXT NOT NULL,
    uom TEXT NOT NULL,
    run TEXT NOT NULL,
    from_ns INTEGER NOT NULL,
    to_ns INTEGER NOT NULL,
    certainty TEXT NOT NULL
) STRICT;

CREATE INDEX genealogy_parent ON genealogy (parent, parent_item);
CREATE INDEX genealogy_child ON genealogy (child, child_item);
