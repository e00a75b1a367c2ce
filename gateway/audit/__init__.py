"""The audit trail of a run: what is written without a request, and what every entry says."""
