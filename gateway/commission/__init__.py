"""Commissioning a machine from the command line: looking at a device without the daemon, and measuring what it does.

Needs no database and no running gateway, and writes nothing to a device. Parses no command line and prints nothing but
progress: that is ``gateway.cli``.
"""
