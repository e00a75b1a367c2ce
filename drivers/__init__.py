"""Drivers: the southbound side. One folder per protocol; supervision is written once, in ``supervisor.py``."""
