"""Whether a host is this very machine: what leaves it needs encryption, or an explicit decision against it."""

from __future__ import annotations

import ipaddress


def is_loopback(host: str) -> bool:
    """True for addresses of this machine itself; a name other than ``localhost`` may be any machine."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
