-- States: what a machine did is read by time, among many rows of other kinds.

CREATE INDEX journal_states ON journal (work_unit, kind, at_ns)
WHERE kind = 'interval' OR kind = 'stop_reason' OR kind = 'reclassified';
