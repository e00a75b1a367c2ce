"""Rules that a customer can try before they go live: written tests, recordings, and what other rules make of them.

Pure: runs work units of the core on given inputs. Reads no file, no clock, no device.
"""
