-- Each step of a posting may be booked without its material: why, "" where it is not so or not known yet.

ALTER TABLE outbox_steps ADD COLUMN goods_error TEXT NOT NULL DEFAULT '';
