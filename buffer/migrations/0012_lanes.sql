-- The lane of a posting is the order as the ERP knows it, with its operation: the children of a split share one, so that
-- what ends the ERP's order never overtakes what another child has still to tell. Numbers stay those of the shop order.

ALTER TABLE outbox ADD COLUMN lane_order TEXT NOT NULL DEFAULT '';
UPDATE outbox SET lane_order = order_id;

DROP INDEX outbox_lane;
CREATE INDEX outbox_lane ON outbox (target, lane_order, operation, id)
WHERE state NOT IN ('posted', 'superseded', 'voided');

DROP TRIGGER outbox_inserted;
CREATE TRIGGER outbox_inserted AFTER INSERT ON outbox
BEGIN
    UPDATE outbox SET lane_order = NEW.order_id WHERE id = NEW.id AND NEW.lane_order = '';
    UPDATE outbox SET head = 1
    WHERE id = NEW.id AND NEW.state <> 'voided' AND NOT EXISTS (
        SELECT 1 FROM outbox AS other
        WHERE other.target = NEW.target AND other.operation = NEW.operation AND other.id < NEW.id
            AND other.lane_order = CASE NEW.lane_order WHEN '' THEN NEW.order_id ELSE NEW.lane_order END
            AND other.state NOT IN ('posted', 'superseded', 'voided')
    );
    INSERT INTO outbox_tally (target, state, postings) VALUES (NEW.target, NEW.state, 1)
    ON CONFLICT (target, state) DO UPDATE SET postings = postings + 1;
END;

DROP TRIGGER outbox_head_left;
CREATE TRIGGER outbox_head_left AFTER UPDATE OF state ON outbox
WHEN NEW.state IN ('posted', 'superseded', 'voided') AND OLD.state NOT IN ('posted', 'superseded', 'voided')
BEGIN
    UPDATE outbox SET head = 0 WHERE id = NEW.id;
    UPDATE outbox SET head = 1
    WHERE id = (
        SELECT min(id) FROM outbox
        WHERE target = NEW.target AND lane_order = NEW.lane_order AND operation = NEW.operation
            AND state NOT IN ('posted', 'superseded', 'voided')
    );
END;

CREATE TRIGGER outbox_lane_is_immutable BEFORE UPDATE OF lane_order ON outbox
WHEN OLD.lane_order <> '' AND NEW.lane_order <> OLD.lane_order
BEGIN
    SELECT RAISE(ABORT, 'the lane of a posting never changes');
END;
