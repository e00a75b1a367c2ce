"""How often a passphrase may be wrong: a few times, then not before a while, which doubles. Knows no passphrase.

A small state machine for each user. It bounds how fast somebody may guess (21 CFR 11.300(d)) and locks nobody out for
ever: that would be a way to keep others from working.
"""

from __future__ import annotations

from typing import Final, NamedTuple

FREE_FAILURES: Final = 5  # wrong in a row before the first wait
FIRST_WAIT_NS: Final = 60 * 1_000_000_000
WAIT_MAX_NS: Final = 3600 * 1_000_000_000
_DOUBLINGS_MAX: Final = 6  # 64 min: beyond the longest wait


class Lockout(NamedTuple):
    """How often it was wrong in a row, and until when no further attempt is looked at."""

    failures: int = 0
    until_ns: int = 0


def wait_ns(state: Lockout, now_ns: int) -> int:
    """How long from now no attempt is looked at; 0: one may be made."""
    return max(state.until_ns - now_ns, 0)


def failed(state: Lockout, now_ns: int) -> Lockout:
    """After a wrong one that was looked at."""
    failures = state.failures + 1
    over = failures - FREE_FAILURES
    if over < 0:
        return Lockout(failures, 0)
    wait = min(FIRST_WAIT_NS << min(over, _DOUBLINGS_MAX), WAIT_MAX_NS)
    return Lockout(failures, now_ns + wait)
