-- Clock: what a run leaves for the next one, and what was learned of UTC, so that stored times can be put right.

CREATE TABLE clock (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    boot_id TEXT NOT NULL,
    steady_ns INTEGER NOT NULL CHECK (steady_ns >= 0),
    monotonic_ns INTEGER NOT NULL CHECK (monotonic_ns >= 0),
    offset_ns INTEGER NOT NULL,
    quality INTEGER NOT NULL CHECK (quality BETWEEN 0 AND 4)
) STRICT;

CREATE TABLE clock_correction (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ns INTEGER NOT NULL,
    from_ns INTEGER NOT NULL CHECK (from_ns <= at_ns),
    offset_ns INTEGER NOT NULL,
    previous_offset_ns INTEGER NOT NULL,
    quality INTEGER NOT NULL CHECK (quality BETWEEN 0 AND 4),
    reason TEXT NOT NULL
) STRICT;

CREATE TRIGGER clock_correction_is_immutable BEFORE UPDATE ON clock_correction
BEGIN
    SELECT RAISE(ABORT, 'a clock correction never changes');
END;

-- A clock that is stepped for ever must not fill the disk.
CREATE TRIGGER clock_corrections_are_bounded AFTER INSERT ON clock_correction
BEGIN
    DELETE FROM clock_correction WHERE seq <= NEW.seq - 10000;
END;

CREATE TRIGGER clock_time_seen AFTER INSERT ON clock_correction
BEGIN
    UPDATE meta SET last_time_ns = max(last_time_ns, NEW.at_ns);
END;
