"""Counting mode ``roles``: several counters on one machine, and what follows from them.

What is counted is booked; what is not follows from the total and the others. A difference that would be negative is
carried to the next one, never told. Where total, good and scrap are all counted, two are booked and the third is
compared. A person's later word on a piece is not its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.counting.detector import (
    LOOKED_AT_EVERY_UNKNOWN,
    NOTHING,
    CounterSourceState,
    in_pieces,
    source_of,
    source_restored,
)
from gateway.core.counting.pulse import PulseState  # noqa: TC001 - detector.loaded reads the types of the fields
from gateway.core.model import CountEvent, Role

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.rules_counting import RolesRule

TOTAL: Final = "total"
_BOOKED_BY_AUTHORITY: Final = {
    "good_scrap": ("good", "scrap"),
    "total_scrap": ("total", "scrap"),
    "total_good": ("total", "good"),
}


class RolesState(NamedTuple):
    """The counters in the order of the rule, and what they differ by.

    ``carry``: pieces that were told under another role before the total showed them (negative), or that are still
    between the total's sensor and the others' (positive, at most ``in_process``). ``polls``: what
    total, good and scrap differed by between each of the last samples of the total; ``open``: since the last one.
    ``mismatch``: the difference was told.
    """

    sources: tuple[CounterSourceState | PulseState, ...] = ()
    carry: int = 0
    polls: tuple[int, ...] = ()
    open: int = 0
    mismatch: bool = False


class RolesDetector:
    """The counters of one machine, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one count, for the rate limits of the counters.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self, rule: RolesRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
    ) -> None:
        self._rule = rule
        counters = rule.counters
        self._names = tuple(counters)
        self._pieces = tuple(inner.pieces for inner in counters.values())
        self._sources: tuple[Any, ...] = tuple(
            source_of(inner, ideal_cycle_ns, looked_at_every) for inner in counters.values()
        )
        self._checked = {"total", "good", "scrap"} <= set(counters)
        self._total_signal = rule.total.signal if rule.total is not None else None
        # The counters come in the order of the rule, the total last: then one scan is judged as a whole. What says that
        # a counter was reset comes before all of them.
        counted = tuple(inner.signal for inner in counters.values())
        evidence = (name for source in self._sources for name in source.signals if name not in counted)
        self.signals = (*dict.fromkeys(evidence), *counted)
        self._derived, self._minus, self._silent = self._scheme(set(counters))

    def _scheme(self, named: set[str]) -> tuple[Role | None, frozenset[str], frozenset[str]]:
        """Which role the total stands for, what is taken off it, and which counters are only compared."""
        if TOTAL not in named:
            return None, frozenset(), frozenset()
        booked = set(named)
        if self._checked:
            booked -= {"total", "good", "scrap"} - set(_BOOKED_BY_AUTHORITY[self._rule.authority])
        if TOTAL not in booked:  # what is counted is booked as it is, with its cycles
            return None, frozenset(), frozenset(named - booked)
        minus = booked & {"good", "scrap", "rework"}
        if self._rule.total_includes_test:
            minus |= booked & {"test"}
        derived = Role.SCRAP if "good" in booked else Role.GOOD
        return derived, frozenset(minus), frozenset(named - booked)

    def initial(self) -> RolesState:
        """Nothing known."""
        return RolesState(tuple(source.initial() for source in self._sources))

    def restored(self, state: RolesState) -> RolesState:
        """Counters go on from their baselines, levels must be seen anew."""
        if len(state.sources) != len(self._sources):  # the rule has other counters than it had
            return self.initial()
        kept = tuple(source_restored(source, one) for source, one in zip(self._sources, state.sources, strict=True))
        return state._replace(sources=kept)

    def deadline(self, state: RolesState) -> int | None:
        """When a level is believed."""
        due = [source.deadline(one) for source, one in zip(self._sources, state.sources, strict=True)]
        return min((at_ns for at_ns in due if at_ns is not None), default=None)

    def on_time(self, state: RolesState, now_ns: int) -> tuple[RolesState, Events]:
        """Levels that held are believed."""
        found: list[tuple[int, CountEvent]] = []
        for index, source in enumerate(self._sources):
            kept, events = source.on_time(state.sources[index], now_ns)
            state = self._with(state, index, kept)
            found += [(index, event) for event in events]
        return self._book_all(state, found)

    def on_value(self, state: RolesState, sample: Sample) -> tuple[RolesState, Events]:
        """A value of one of the counters, or of what tells of their resets."""
        found: list[tuple[int, CountEvent]] = []
        for index, source in enumerate(self._sources):
            if sample.signal in source.signals:
                kept, events = source.on_value(state.sources[index], sample)
            else:  # a later value of another signal proves a level as well as one of its own
                kept, events = source.settled(state.sources[index], sample.t_ns, sample.arrived_ns)
            state = self._with(state, index, kept)
            found += [(index, event) for event in events]
        state, out = self._book_all(state, found)
        if self._checked and sample.signal == self._total_signal:
            state, more = self._compare(state, sample)
            out += more
        return state, out

    def _book_all(self, state: RolesState, found: list[tuple[int, CountEvent]]) -> tuple[RolesState, Events]:
        out: Events = NOTHING
        for index, event in sorted(found, key=_date):
            state, more = self._book(state, index, event)
            out += more
        return state, out

    def _book(self, state: RolesState, index: int, given: CountEvent) -> tuple[RolesState, Events]:
        """What one counter moved by, as the roles that it is told under."""
        name, event = self._names[index], in_pieces(given, self._pieces[index])
        if self._checked and event.delta and name in ("total", "good", "scrap", "rework"):
            state = state._replace(open=state.open + (event.delta if name == TOTAL else -event.delta))
        if name in self._silent:
            # Its pieces are booked by the others; that it was reset is told all the same.
            told = event._replace(delta=0, review=0, max_lost=0, cycles=0, estimated=False, role=self._role(name))
            return state, NOTHING if event.flag == "OK" else (told,)
        if name == TOTAL:
            left = event.delta + state.carry
            due = max(left - self._rule.in_process, 0)
            event = event._replace(delta=due, cycles=given.delta, role=self._derived)
            return state._replace(carry=left - due), (event,)
        if name in self._minus:
            state = state._replace(carry=state.carry - event.delta)
            # The cycles are the total's where it is booked.
            return state, (event._replace(role=Role(name), cycles=0),)
        return state, (event._replace(role=Role(name), cycles=given.delta),)

    def _compare(self, state: RolesState, sample: Sample) -> tuple[RolesState, Events]:
        """One more sample of the total: do the counters still agree?"""
        polls = (*state.polls, state.open)[-self._rule.check_polls :]
        apart = abs(sum(polls)) > self._rule.tolerance
        checked = state._replace(polls=polls, open=0, mismatch=apart)
        if not apart or state.mismatch:
            return checked, NOTHING
        return checked, (
            CountEvent(
                sample.signal, 0, sample.t_ns, sample.t_ns, "COUNTER_MISMATCH", role=self._role(TOTAL), cycles=0
            ),
        )

    def _role(self, name: str) -> Role:
        return Role.GOOD if name == TOTAL else Role(name)

    def _with(self, state: RolesState, index: int, kept: Any) -> RolesState:
        if kept is state.sources[index]:
            return state
        return state._replace(sources=(*state.sources[:index], kept, *state.sources[index + 1 :]))


def _date(found: tuple[int, CountEvent]) -> int:
    return found[1].t_to_ns
