"""Which of the time that is not final yet stays what it is judged to be. Judges nothing itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.core.state.interval import cut

if TYPE_CHECKING:
    from gateway.core.state.interval import StateInterval
    from gateway.core.state.machine_track import MachineTrack


def settled(track: MachineTrack, to_ns: int, settle_ns: int) -> tuple[StateInterval, ...]:
    """What a machine did up to an instant, and nothing changes any more.

    A loss of data and a late alarm reach back ``settle_ns``, a setup to the last good piece.
    """
    timeline = track.timeline
    until_ns = min(to_ns, timeline.now_ns - settle_ns, track.setup.last_good_ns or 0)
    return (*timeline.left, *(part for one in timeline.row if (part := cut(one, until_ns)[0]) is not None))
