"""Parts that came in a setup and wait for their verdict: one of them may be the piece that ends it.

Until that is known they are no cycles; when the setup ends, those before its end were made in it and the others are
production. Judges no time itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from gateway.core.model import CountEvent
    from gateway.core.state.machine_track import MachineTrack
    from gateway.core.state.timeline import Timeline
    from gateway.core.state.timeline_state import TimelineOutput, TimelineState

#: Parts of a setup that wait for their verdict; of what is beyond the machine's state hears at once.
AWAITED_MAX: Final = 128


def heard_of(track: MachineTrack, event: CountEvent) -> tuple[MachineTrack, int]:
    """How many cycles the machine's state hears of by an event with ``activity``, and what waits from now on."""
    assert event.activity is not None, "asked only of parts that wait for a verdict"
    if event.activity:
        if track.setup.since_ns is None or len(track.awaited) >= AWAITED_MAX:
            return track, event.activity
        return track._replace(awaited=(*track.awaited, event.t_to_ns)), 0
    if event.t_to_ns not in track.awaited:
        return track, 0
    place = track.awaited.index(event.t_to_ns)
    return track._replace(awaited=(*track.awaited[:place], *track.awaited[place + 1 :])), 1


def setup_over(
    rule: Timeline, timeline: TimelineState, track: MachineTrack, now_ns: int, at_ns: int, reason: str
) -> tuple[TimelineState, tuple[TimelineOutput, ...]]:
    """The timeline with a setup that ended at ``at_ns``, and with the parts that came in it and since."""
    out: tuple[TimelineOutput, ...] = ()
    times_ns = sorted(track.awaited)
    for t_ns in times_ns:
        if t_ns < at_ns:
            timeline, more = rule.cycle(timeline, now_ns, t_ns, t_ns)
            out += more
    timeline, more = rule.setup(timeline, now_ns, at_ns, reason, active=False)
    out += more
    for t_ns in times_ns:
        if t_ns >= at_ns:
            timeline, more = rule.cycle(timeline, now_ns, t_ns, t_ns)
            out += more
    return timeline, out
