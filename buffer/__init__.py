"""The buffer: one SQLite database that keeps every counted piece until the ERP has booked it."""
