"""Counting mode ``pulse``: edges of a digital signal, debounced by their own time stamps.

Edges that fell while nobody looked are not guessed: the interval is declared with an upper bound, where the signal was
bad and where a polled one was not looked at for so long that a pulse could come and go. Knows no pieces and no orders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.model import CountEvent, Status

if TYPE_CHECKING:
    from gateway.core.model import Scalar
    from gateway.core.rules_inputs import PulseRule

# An edge is dated where it happened and arrives later, often several in one batch. The timer that believes a level
# without a further edge therefore counts from its arrival, and leaves the bounce that is still on its way this long.
SETTLE_GRACE_NS: Final = 20_000_000
IDEAL_CYCLE_MARGIN: Final = (3, 2)  # without a minimum cycle time, so many times the ideal rate is possible
SLACK_PULSES: Final = 2
CHATTER_WINDOW_NS: Final = 3_600_000_000_000  # a sensor that chatters is told once in this time
CHATTER_PERCENT: Final = 5  # of what it counts in that time, rejected as too short
STUCK_WAITS: Final = -1  # a level is not told to be stuck until the machine runs again
CHATTER_MIN: Final = 5  # rejected edges; fewer say nothing
LOOKS_PER_LEVEL: Final = 2  # of a polled signal: where nobody said how short its levels are, they last so many looks
LOST: Final = "PULSES_POSSIBLY_LOST"


class PulseState(NamedTuple):
    """Everything a pulse input must remember.

    ``level`` None: not known (start, link lost). ``seen_ns``: up to here nothing was missed. ``candidate_ns``: since
    when the opposite level is seen, 0 for none; ``arrived_ns`` is when the gateway heard of it. ``early``: the level
    was believed by the timer, without a later edge. ``prepaid``: an edge was counted early and did not hold; the next
    one is it. ``counts`` and ``rejected_short``: all that were ever counted and rejected; ``watch_counts`` and
    ``watch_rejected`` what they were at ``watch_ns``, since when chatter is looked for; ``watch_told``: it was found.

    Of a polled input, by arrival: ``looked_ns`` is the last look, 0 for none; ``gap_from_ns`` the last one before the
    latest gap between two, and ``gap_to_ns`` the date of the level that ended it.

    ``stuck_told``: the level was told to be stuck. ``stuck_from_ns``: it counts as stuck from then on, if that is later
    than its beginning; STUCK_WAITS where it was told and set aside (``stuck.py``).
    """

    level: bool | None = None
    candidate_ns: int = 0
    arrived_ns: int = 0
    early: bool = False
    prepaid: bool = False
    counted_ns: int = 0
    seen_ns: int = 0
    level_since_ns: int = 0
    cycle_valid: bool = False
    stuck_told: bool = False
    glitches: int = 0
    rejected_short: int = 0
    counts: int = 0
    watch_ns: int = 0
    watch_counts: int = 0
    watch_rejected: int = 0
    watch_told: bool = False
    looked_ns: int = 0
    gap_from_ns: int = 0
    gap_to_ns: int = 0
    stuck_from_ns: int = 0

    # Every value passes through one of the next three: fields by their places, without the call of the class, are four
    # times as fast as ``_replace``.

    def same(self, seen_ns: int, looked_ns: int) -> PulseState:
        """Nothing has changed but the time."""
        return tuple.__new__(PulseState, (*self[:6], seen_ns, *self[7:17], looked_ns, *self[18:]))

    def opened(self, t_ns: int, arrived_ns: int, seen_ns: int, looked_ns: int) -> PulseState:
        """The opposite level was seen: it may become the level."""
        candidate = (self.level, t_ns, arrived_ns, *self[3:6], seen_ns)
        return tuple.__new__(PulseState, (*candidate, *self[7:17], looked_ns, *self[18:]))

    def accepted(self, *, early: bool, counted: bool) -> PulseState:
        """The opposite level held: it is the level since its beginning; ``counted`` where that edge counts."""
        since_ns, prepaid, counted_ns = self.candidate_ns, self.prepaid, self.counted_ns
        valid, counts = self.cycle_valid, self.counts
        if counted:
            valid = valid if prepaid else since_ns != self.gap_to_ns
            prepaid, counted_ns, counts = False, since_ns, counts + 1
        level = (not self.level, 0, self.arrived_ns, early, prepaid, counted_ns, self.seen_ns, since_ns, valid, False)
        return tuple.__new__(PulseState, (*level, *self[10:12], counts, *self[13:]))


class PulseDetector:
    """The rule of one pulse input, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time between two pulses; bounds what may have been lost where no minimum is set.
        looked_at_every_ns: how often a polled signal is looked at, and told although it stays the same; 0: every edge
            is seen, or nobody says how often.
    """

    def __init__(self, rule: PulseRule, ideal_cycle_ns: int | None, looked_at_every_ns: int = 0) -> None:
        self._rule = rule
        self._debounce = int(rule.debounce)
        self._min_cycle = int(rule.min_cycle)
        self._ideal = ideal_cycle_ns
        # Within a gap that is no longer than its shortest level nothing can come and go; and a changed level is one
        # edge for certain, beside which two whole levels are needed for one more. But where a level must be seen
        # several times to be believed, what is left of it after a gap must still last that long.
        several = self._debounce >= looked_at_every_ns
        shortest = (rule.pulse_width or 0) - (self._debounce if several else 0)
        self._unseen = max(LOOKS_PER_LEVEL * looked_at_every_ns, shortest) if looked_at_every_ns else 0
        self._unseen_beside_edge = self._unseen if several else 2 * self._unseen
        self._wanted = {"rising": (True,), "falling": (False,), "both": (True, False)}[rule.edge]

    def initial(self) -> PulseState:
        """Level unknown: the level found first is no edge."""
        return PulseState()

    def restored(self, state: PulseState) -> PulseState:
        """After a restart the level must be read again; what fell meanwhile is declared when it is."""
        return self._blind(state)

    def deadline(self, state: PulseState) -> int | None:
        """When to look again although nothing arrives."""
        due = self._settled_ns(state) if state.candidate_ns else None
        stuck_after = self._rule.stuck_after
        if stuck_after is not None and state.level is not None and not state.stuck_told:
            stuck_ns = max(state.level_since_ns, state.stuck_from_ns) + stuck_after
            due = stuck_ns if due is None else min(due, stuck_ns)
        return due

    def on_time(self, state: PulseState, now_ns: int) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """Time has come: a level that held is believed, a level that holds too long is reported."""
        events: tuple[CountEvent, ...] = ()
        if state.candidate_ns and now_ns >= self._settled_ns(state):
            state, events = self._accept(state, early=True)
        stuck_after = self._rule.stuck_after
        if stuck_after is None or state.level is None or state.stuck_told:
            return state, events
        if now_ns < max(state.level_since_ns, state.stuck_from_ns) + stuck_after:
            return state, events
        event = CountEvent(self._rule.signal, 0, state.level_since_ns, now_ns, "STUCK_SIGNAL")
        return state._replace(stuck_told=True, stuck_from_ns=0), (*events, event)

    def on_value(
        self, state: PulseState, t_ns: int, value: Scalar, status: Status, arrived_ns: int
    ) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """One level, dated ``t_ns`` by the kernel or the device, that arrived at ``arrived_ns``."""
        if status is not Status.GOOD or not isinstance(value, (bool, int)):
            return self._blind(state), ()
        raw = bool(value)
        looked = arrived_ns if self._unseen else 0
        if state.level is None:
            return self._first_level(state._replace(looked_ns=looked), t_ns, raw=raw)
        if looked - state.looked_ns > self._unseen and state.looked_ns:
            return self._after_gap(state, t_ns, arrived_ns, raw=raw)
        events: tuple[CountEvent, ...] = ()
        if state.candidate_ns and t_ns - state.candidate_ns >= self._debounce:
            state, events = self._accept(state)
        if state.early:
            state = self._look_back(state, t_ns, raw=raw)
        seen = max(t_ns, state.seen_ns)
        if raw == state.level:
            if state.candidate_ns:
                glitches = state.glitches + 1
                return state._replace(candidate_ns=0, glitches=glitches, seen_ns=seen, looked_ns=looked), events
            return state.same(seen, looked), events
        if not state.candidate_ns:
            state = state.opened(t_ns, arrived_ns, seen, looked)
            if not self._debounce:
                state, more = self._accept(state)
                events += more
            return state, events
        return state.same(seen, looked), events

    def held(self, state: PulseState) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """A level that waits has held, as another signal's later value proves."""
        return self._accept(state)

    def _after_gap(
        self, state: PulseState, t_ns: int, arrived_ns: int, *, raw: bool
    ) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """The first level after some looks were left out: what may have come and gone meanwhile is declared."""
        since_ns = state.looked_ns
        changed = raw == (state.level if state.candidate_ns else not state.level)
        events: tuple[CountEvent, ...] = ()
        if state.candidate_ns and t_ns - state.candidate_ns >= self._debounce:
            state, events = self._accept(state)
        state = state._replace(looked_ns=arrived_ns, gap_from_ns=since_ns, gap_to_ns=t_ns)
        if arrived_ns - since_ns > (self._unseen_beside_edge if changed else self._unseen):
            state = state._replace(cycle_valid=False)
            events += (self._lost(since_ns, arrived_ns, self.bound(arrived_ns - since_ns)),)
        state, more = self.on_value(state, t_ns, raw, Status.GOOD, arrived_ns)
        return state, events + more

    def _lost(self, from_ns: int, to_ns: int, at_most: int) -> CountEvent:
        return CountEvent(self._rule.signal, 0, from_ns, to_ns, LOST, max_lost=at_most)

    def _settled_ns(self, state: PulseState) -> int:
        return max(state.candidate_ns, state.arrived_ns) + self._debounce + SETTLE_GRACE_NS

    def _look_back(self, state: PulseState, t_ns: int, *, raw: bool) -> PulseState:
        """A late batch may show that a level which the timer believed did not hold: then it never was the level."""
        if raw == state.level or t_ns - state.level_since_ns >= self._debounce:
            return state
        paid = state.prepaid or (state.level in self._wanted and state.counted_ns == state.level_since_ns)
        return state._replace(level=raw, early=False, prepaid=paid, glitches=state.glitches + 1)

    def _accept(self, state: PulseState, *, early: bool = False) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """The candidate level held: it is the level, and its beginning is the edge."""
        edge_ns, level = state.candidate_ns, not state.level
        if level not in self._wanted:
            return state.accepted(early=early, counted=False), ()
        if state.prepaid:  # it stands for an edge that was counted early and did not hold
            return state.accepted(early=early, counted=True), ()
        since = edge_ns - state.counted_ns
        if state.counted_ns and since < self._min_cycle:
            # Measured from the last *counted* edge: a rocking part must not postpone the next real one for ever.
            return self._rejected(state.accepted(early=early, counted=False), edge_ns)
        longest = self._rule.max_cycle
        single = state.counted_ns and state.cycle_valid and (longest is None or since <= longest)
        cycle_ns = since if single else None
        event = CountEvent(self._rule.signal, 1, state.counted_ns or edge_ns, edge_ns, "OK", cycle_ns=cycle_ns)
        return state.accepted(early=early, counted=True), (event,)

    def _rejected(self, state: PulseState, edge_ns: int) -> tuple[PulseState, tuple[CountEvent, ...]]:
        """An edge too soon after the last one. Where they are many, the sensor chatters."""
        if not state.watch_ns or edge_ns - state.watch_ns > CHATTER_WINDOW_NS:
            state = state._replace(
                watch_ns=edge_ns, watch_counts=state.counts, watch_rejected=state.rejected_short, watch_told=False
            )
        state = state._replace(rejected_short=state.rejected_short + 1)
        # The last one may have been much sooner than it was seen: then this one was no bounce of it.
        if state.counted_ns == state.gap_to_ns and edge_ns - state.gap_from_ns >= self._min_cycle:
            return state, (self._lost(state.gap_from_ns, edge_ns, 1),)
        short, counts = state.rejected_short - state.watch_rejected, state.counts - state.watch_counts
        if state.watch_told or short < CHATTER_MIN or 100 * short <= CHATTER_PERCENT * counts:
            return state, ()
        event = CountEvent(self._rule.signal, 0, state.watch_ns, edge_ns, "SENSOR_CHATTER")
        return state._replace(watch_told=True), (event,)

    def _first_level(self, state: PulseState, t_ns: int, *, raw: bool) -> tuple[PulseState, tuple[CountEvent, ...]]:
        found = state._replace(
            level=raw, candidate_ns=0, level_since_ns=t_ns, seen_ns=t_ns, stuck_told=False, early=False
        )
        if not state.seen_ns:
            return found, (CountEvent(self._rule.signal, 0, t_ns, t_ns, "BASELINE"),)
        if t_ns <= state.seen_ns:  # nothing was missed
            return found, ()
        return found, (self._lost(state.seen_ns, t_ns, self.bound(t_ns - state.seen_ns)),)

    def _blind(self, state: PulseState) -> PulseState:
        # A level that was still settling may have been an edge: the unknown interval begins with it.
        seen = min(state.seen_ns, state.candidate_ns - 1) if state.candidate_ns else state.seen_ns
        return state._replace(level=None, candidate_ns=0, seen_ns=seen, cycle_valid=False)

    def bound(self, gap_ns: int) -> int:
        """Upper bound of the pulses in a gap: -1 where no rule gives one."""
        if self._min_cycle:
            return gap_ns // self._min_cycle + 1
        if self._ideal:
            return IDEAL_CYCLE_MARGIN[0] * gap_ns // (IDEAL_CYCLE_MARGIN[1] * self._ideal) + SLACK_PULSES
        return -1
