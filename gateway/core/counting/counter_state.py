"""What a counter remembers: its baseline, a value in doubt, and the track before a reset.

Plain values; what they mean is ``counter.py``'s business.
"""

from __future__ import annotations

from typing import NamedTuple


class Pending(NamedTuple):
    """A value that waits for its confirmation; ``doubt_ns`` is when the first of its kind came."""

    t_ns: int
    value: int
    kind: str
    tries: int
    doubt_ns: int


class OldTrack(NamedTuple):
    """The value before a reset, a jump or a roll-over to zero, and what was booked since: deducted should it come back.

    ``owed``: so many more were booked than there were; they are deducted from what comes. ``told``: the reset was told,
    so a small step after it is what it seems. ``jumps``: so many that were hardly too far, one soon after the other.
    """

    t_ns: int
    value: int
    booked: int
    owed: int = 0
    told: bool = False
    jumps: int = 0


class CounterState(NamedTuple):
    """What a counter must remember across restarts.

    ``evidence``: ``restart`` was told, or ``reset``: the next value follows it. ``announced``: a reset was told at
    ``told_ns`` and may still come. ``before``: the signal that told it last, and what it showed until then.
    """

    t_ns: int = 0
    value: int | None = None
    pending: Pending | None = None
    old: OldTrack | None = None
    evidence: str = ""
    quality_bad: bool = False
    told_ns: int = 0
    before: str = ""
