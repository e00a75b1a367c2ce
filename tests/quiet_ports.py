"""Ports for servers that start in a moment, or end and come back on the port that they had."""

from __future__ import annotations

import itertools
import os
import random
import socket

#: Below those that the kernel gives to whoever asks for any port: nobody takes one in the meantime.
QUIET_PORTS = range(12_000, 32_000)


def share(worker, workers):
    """Those of one worker (``gw0``, ``gw1``, ...): a port that waits for its server looks free to the others, too."""
    each = len(QUIET_PORTS) // workers
    first = int(worker.removeprefix("gw")) % workers * each
    return QUIET_PORTS[first : first + each]


_MINE = share(os.environ.get("PYTEST_XDIST_WORKER", "gw0"), int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
_OFFERS = itertools.cycle(random.SystemRandom().sample(_MINE, len(_MINE)))


def find():
    """A free port of this computer; none again before each had its turn. Raises AssertionError where none is free."""
    for port in itertools.islice(_OFFERS, len(_MINE)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {_MINE} is free")
