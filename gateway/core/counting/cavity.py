"""Counting mode ``cavity``: a tool that makes several pieces in one cycle.

Pieces are the cavities that made one when the cycle ended: by a table with times, by a number or by a verdict for each
cavity. A family tool makes several products in one cycle. Knows no orders; it only says how a cycle's time is shared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from decimal import Decimal
from fractions import Fraction
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
from gateway.core.model import CountEvent, Role, Status

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.counting.detector import Events, Sample
    from gateway.core.rules_pieces import CavityRule

# OPC 40083: CavityCycleQualityEnumeration; 0 is no part.
NO_PART: Final = 0
VERDICT_ROLES: Final = {1: Role.GOOD, 2: Role.SCRAP, 3: Role.REWORK}
# OPC 40083: CycleQualityEnumeration; 0 is a good cycle. In a failed one the parts are assumed bad.
GOOD_CYCLE: Final = 0
QUALITY_ROLES: Final = {1: Role.SCRAP, 2: Role.TEST, 3: Role.SCRAP}
QUALITY_MAX: Final = 3


class CavityState(NamedTuple):
    """The cycles, what the signals beside them last showed (None: not known), and the trouble that was last told.

    ``number``: the cavities that were said to make a piece when a cycle was last seen.
    """

    source: CounterSourceState | PulseState | None = None
    values: tuple[int | None, ...] = ()
    told: str = ""
    number: int | None = None


class Yield(NamedTuple):
    """What one cycle made.

    ``pieces`` by part and role; ``parts`` of the open cavities that gave something, ``empty``: how many gave nothing by
    their verdict. ``judged``: the pieces were judged in this very cycle. ``trouble``: what was wrong with the
    information, "" for nothing.
    """

    pieces: Counter[tuple[str | None, Role]]
    parts: tuple[str | None, ...]
    judged: bool
    trouble: str
    empty: int = 0


class CavityDetector:
    """The rule of one tool, prepared.

    Args:
        rule: the settings.
        ideal_cycle_ns: ideal time of one cycle, for the rate limit of its counter.
        looked_at_every: how often signals are looked at, see ``detector.LOOKED_AT_EVERY_UNKNOWN``.
    """

    def __init__(
        self, rule: CavityRule, ideal_cycle_ns: int | None, looked_at_every: Mapping[str, int] = LOOKED_AT_EVERY_UNKNOWN
    ) -> None:
        self._rule = rule
        self._source: Any = source_of(rule.cycle, ideal_cycle_ns, looked_at_every)
        beside = [name for name in (rule.active_signal, rule.quality_signal) if name is not None]
        self._beside = {name: index for index, name in enumerate((*beside, *rule.verdict_signals))}
        self._part_of = {cavity: part for part, cavities in rule.parts.items() for cavity in cavities}
        # The table of closed cavities: from each point in time on, which ones are open.
        ends = [entry.until for entry in rule.closed if entry.until is not None]
        self._changes = sorted({*(int(entry.since) for entry in rule.closed), *map(int, ends)})
        self._open = [self._open_at(at_ns) for at_ns in (-1, *self._changes)]
        # Of one scan, what a cycle made is known before it ends.
        self.signals: tuple[str, ...] = (*self._beside, *self._source.signals)

    def initial(self) -> CavityState:
        """Nothing known."""
        return CavityState(self._source.initial(), (None,) * len(self._beside))

    def restored(self, state: CavityState) -> CavityState:
        """What the signals show must be seen anew, but for the number of cavities: it changes by hand."""
        values: list[int | None] = [None] * len(self._beside)
        if self._rule.active_signal is not None and len(state.values) == len(values):
            values[0] = state.values[0]
        return CavityState(source_restored(self._source, state.source), tuple(values), state.told, state.number)

    def deadline(self, state: CavityState) -> int | None:
        """When a level is believed."""
        due: int | None = self._source.deadline(state.source)
        return due

    def on_time(self, state: CavityState, now_ns: int) -> tuple[CavityState, Events]:
        """Levels that held are believed."""
        source, events = self._source.on_time(state.source, now_ns)
        return self._cycles(state._replace(source=source), events)

    def on_value(self, state: CavityState, sample: Sample) -> tuple[CavityState, Events]:
        """A cycle, or what is known about it."""
        index = self._beside.get(sample.signal)
        if index is None:
            source, events = self._source.on_value(state.source, sample)
            return self._cycles(state._replace(source=source), events)
        # A cycle that ended before this value has what was valid then.
        source, events = self._source.settled(state.source, sample.t_ns, sample.arrived_ns)
        state, out = self._cycles(state._replace(source=source), events)
        value = _whole(sample)
        if sample.signal == self._rule.active_signal:
            if value is None:  # the last number that was known goes on
                return state, out
            if not 0 <= value <= self._rule.cavities:
                state, told = self._tell(state, "IMPLAUSIBLE_CAVITIES", sample.signal, sample.t_ns)
                return state, out + told
        if value == state.values[index]:
            return state, out
        return state._replace(values=(*state.values[:index], value, *state.values[index + 1 :])), out

    def active(self, at_ns: int) -> tuple[int, ...]:
        """The cavities that are not closed at this time."""
        return self._open[bisect_right(self._changes, at_ns)]

    def _open_at(self, at_ns: int) -> tuple[int, ...]:
        closed = {
            entry.cavity
            for entry in self._rule.closed
            if entry.since <= at_ns and (entry.until is None or at_ns < entry.until)
        }
        return tuple(cavity for cavity in range(1, self._rule.cavities + 1) if cavity not in closed)

    def time_shares(self, at_ns: int) -> dict[str, Fraction]:
        """Each part's share of the machine's time, exactly; they add up to 1. Empty without parts."""
        rule = self._rule
        if not rule.parts:
            return {}
        if rule.leading_part is not None:
            return {part: Fraction(part == rule.leading_part) for part in rule.parts}
        if rule.machine_time == "equal":
            return {part: Fraction(1, len(rule.parts)) for part in rule.parts}
        open_now = set(self.active(at_ns)) or set(self._part_of)  # a tool that makes nothing is shared as if it did
        shares = {part: Fraction(len(open_now & set(cavities))) for part, cavities in rule.parts.items()}
        if rule.machine_time == "by_weight":
            shares = {part: pieces * Fraction(Decimal(rule.weights[part])) for part, pieces in shares.items()}
        whole = sum(shares.values())
        return {part: share / whole for part, share in shares.items()}

    # --- cycles ----------------------------------------------------------------------------------------------------

    def _cycles(self, state: CavityState, events: Events) -> tuple[CavityState, Events]:
        out: Events = NOTHING
        for event in events:
            state, more = self._cycle(state, event)
            out += more
        return state, out

    def _cycle(self, state: CavityState, event: CountEvent) -> tuple[CavityState, Events]:
        """One event of the cycles: pieces, what is set aside and what may be lost, all of it times the cavities."""
        scaled = in_pieces(event, self._rule.cavities)._replace(role=self._rule.role, delta=0, cycles=event.delta)
        if not event.delta:
            return state, (scaled,)
        made = self._yield(state.values, event.t_to_ns)
        pieces = Counter(made.pieces)
        if made.judged:
            # Of several cycles only the last one's quality is known, of the others only that they were.
            for part in made.parts:
                pieces[part, Role(self._rule.unseen)] += event.delta - 1
            # A cavity that gives nothing now gave nothing then, or its pieces are missing: the least is booked.
            lost = made.empty * (event.delta - 1)
            if lost and scaled.max_lost >= 0:
                flag = "VERDICT_UNSEEN" if scaled.flag == "OK" else scaled.flag
                scaled = scaled._replace(max_lost=scaled.max_lost + lost, flag=flag)
        else:
            pieces = Counter({key: number * event.delta for key, number in pieces.items()})
        if self._rule.active_signal is not None:
            state, scaled = self._unseen_number(state, event, scaled, pieces)
        state, out = self._tell(state, made.trouble, event.signal, event.t_to_ns)
        for (part, role), number in sorted(pieces.items(), key=_in_order):
            if number:
                out += (scaled._replace(delta=number, part=part, role=role),)
                # The cycle itself, its doubts and its time are told once.
                scaled = scaled._replace(cycles=0, review=0, max_lost=0, cycle_ns=None)
        # A cycle that made nothing is a cycle all the same.
        return state, (*out, scaled) if scaled.cycles else out

    def _unseen_number(
        self, state: CavityState, event: CountEvent, scaled: CountEvent, pieces: Counter[tuple[str | None, Role]]
    ) -> tuple[CavityState, CountEvent]:
        """Of several cycles the number is known of the last one only: where it changed, the least is booked."""
        before, number = state.number, state.values[0]
        state = state._replace(number=number)
        if before is None or number is None or before == number or event.delta == 1:
            return state, scaled
        apart = abs(number - before) * (event.delta - 1)
        if number > before:
            unseen = (None, Role(self._rule.unseen))
            pieces[unseen if unseen in pieces else max(pieces, key=pieces.__getitem__)] -= apart
        flag = "CAVITIES_UNSEEN" if scaled.flag == "OK" else scaled.flag
        return state, scaled._replace(flag=flag, max_lost=scaled.max_lost + apart if scaled.max_lost >= 0 else -1)

    def _tell(self, state: CavityState, trouble: str, signal: str, t_ns: int) -> tuple[CavityState, Events]:
        """Trouble is told when it begins, not with every cycle."""
        if trouble == state.told:
            return state, NOTHING
        told = (CountEvent(signal, 0, t_ns, t_ns, trouble, cycles=0),) if trouble else NOTHING
        return state._replace(told=trouble), told

    def _yield(self, values: tuple[int | None, ...], at_ns: int) -> Yield:
        """What a cycle made that ended at this time."""
        rule, open_now = self._rule, self.active(at_ns)
        parts = tuple(self._part_of.get(cavity) for cavity in open_now)
        role, trouble = self._quality(values)
        if rule.active_signal is not None:
            number = values[0]
            if number is None:
                role, trouble = Role(rule.unseen), "CAVITIES_UNKNOWN"
            elif not rule.parts:
                parts = (None,) * number
            elif number != len(open_now):
                # Which cavities they are nobody says, so nobody knows which product they make.
                parts, role, trouble = (None,) * number, Role.HOLD, "CAVITY_SPLIT_MISMATCH"
        judged = rule.quality_signal is not None or bool(rule.verdict_signals)
        if not rule.verdict_signals:
            return Yield(Counter((part, role or rule.role) for part in parts), parts, judged, trouble)
        verdicts = values[len(values) - rule.cavities :]
        pieces: Counter[tuple[str | None, Role]] = Counter()
        filled: list[str | None] = []
        for cavity, part in zip(open_now, parts, strict=True):
            verdict = verdicts[cavity - 1]
            if verdict == NO_PART:
                continue
            filled.append(part)
            found = VERDICT_ROLES.get(verdict) if verdict is not None else None
            if found is None:
                found, trouble = Role(rule.unseen), "VERDICT_UNKNOWN"
            pieces[part, role or found] += 1
        return Yield(pieces, tuple(filled), judged, trouble, len(parts) - len(filled))

    def _quality(self, values: tuple[int | None, ...]) -> tuple[Role | None, str]:
        """What the whole cycle is, None where each piece is what it is otherwise."""
        rule = self._rule
        if rule.quality_signal is None:
            return None, ""
        quality = values[self._beside[rule.quality_signal]]
        if quality is None or not GOOD_CYCLE <= quality <= QUALITY_MAX:
            return Role(rule.unseen), "QUALITY_UNKNOWN"
        return QUALITY_ROLES.get(quality), ""


def _whole(sample: Sample) -> int | None:
    value = sample.value
    if sample.status is not Status.GOOD or isinstance(value, (bool, str)) or value is None:
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value


def _in_order(item: tuple[tuple[str | None, Role], int]) -> tuple[str, int]:
    (part, role), _ = item
    return part or "", list(Role).index(role)
