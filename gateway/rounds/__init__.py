"""What looks after the database while the gateway runs, each at its own interval."""
