-- What the content of a journal row must sum up to, so that a damaged one is found; NULL: a row from before this schema.

ALTER TABLE journal ADD COLUMN checksum INTEGER;
