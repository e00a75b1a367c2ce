"""Shifts and honest time: which shift an instant belongs to, what a time stamp is worth. Reads no clock, no file."""
