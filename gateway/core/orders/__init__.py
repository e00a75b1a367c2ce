"""Job orders on one work unit: which one runs, and what was made for it."""
