"""The pure core: decides what was made, for which job order, and what to confirm. No clock, no socket, no file."""
