"""The machine's state: one value at a time, from explicit signals or from the time since the last cycle."""
