-- Closing records: what a production day of a work unit came to. One behind the other, never changed, never deleted.

CREATE TABLE closing_record (
    work_unit TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number > 0),
    day TEXT NOT NULL CHECK (length(day) = 10),
    -- UTC as it was known when the day was closed, and the steady time at which the day ended.
    from_ns INTEGER NOT NULL,
    to_ns INTEGER NOT NULL CHECK (to_ns > from_ns),
    end_ns INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    complete INTEGER NOT NULL CHECK (complete IN (0, 1)),
    digest TEXT NOT NULL CHECK (length(digest) = 64),
    document BLOB NOT NULL,
    at_ns INTEGER NOT NULL,
    PRIMARY KEY (work_unit, number)
) STRICT, WITHOUT ROWID;

CREATE INDEX closing_record_day ON closing_record (day, work_unit);

-- Each row of the journal is one day's: a record begins right behind the one before. This also refuses OR REPLACE.
CREATE TRIGGER closing_record_is_the_next BEFORE INSERT ON closing_record
WHEN NEW.number <> 1 + coalesce((SELECT max(number) FROM closing_record WHERE work_unit = NEW.work_unit), 0)
    OR (NEW.number > 1 AND NEW.first_seq <> 1 + (
        SELECT last_seq FROM closing_record WHERE work_unit = NEW.work_unit AND number = NEW.number - 1
    ))
BEGIN
    SELECT RAISE(ABORT, 'the closing record does not follow the one before');
END;

CREATE TRIGGER closing_record_is_immutable BEFORE UPDATE ON closing_record
BEGIN
    SELECT RAISE(ABORT, 'a closing record never changes');
END;

CREATE TRIGGER closing_record_is_kept BEFORE DELETE ON closing_record
BEGIN
    SELECT RAISE(ABORT, 'a closing record is never deleted');
END;

CREATE TRIGGER closing_record_time_seen AFTER INSERT ON closing_record
BEGIN
    UPDATE meta SET last_time_ns = max(last_time_ns, NEW.at_ns);
END;
