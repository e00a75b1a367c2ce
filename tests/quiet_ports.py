"""Ports for servers that start in a moment, or end and come back on the port that they had."""

from __future__ import annotations

import random
import socket

#: Below those that the kernel gives to whoever asks for any port: nobody takes one in the meantime.
QUIET_PORTS = range(12_000, 32_000)
_OFFERS = iter(random.SystemRandom().sample(QUIET_PORTS, len(QUIET_PORTS)))


def find():
    """A free port of this computer; none twice in a process. Raises AssertionError where none is free."""
    for port in _OFFERS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {QUIET_PORTS} is free")
