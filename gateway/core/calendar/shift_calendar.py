"""The shift calendar: the kind of time, the shift and the production day at an instant.

Instants are UTC nanoseconds, never those of a clock that is known to be off: ``honest_time.py`` maps them first. All
wall-clock times become instants by one function, ``Zone.utc_ns``, and the end of a shift is resolved as the start of
the next one is, so shifts tile. A time that the clocks skip is taken as that much later, but never later than the next
boundary that exists: a shift of which nothing is left does not take place. A break begins when the wall clock says so
and lasts as long as it is meant to last, also in the night in which the clocks change.

Does not know what a machine did: the rolling break is a length here, and ``flexible_break`` finds it in stops.
"""

from __future__ import annotations

import enum
from bisect import bisect_right
from collections import OrderedDict
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.calendar.pattern import DAYS_PER_WEEK, Pattern
from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from gateway.core.calendar.pattern import PlannedShift
    from gateway.core.rules_calendar import CalendarRule

WEEKS_CACHED: Final = 8
LAST_NS: Final = 2**63 - 1 - 30 * NS_PER_UNIT["d"]  # the year 2262, with room for the shifts around it

#: Dates around a week whose shifts can reach into it: one for a shift over midnight, one for a date that a zone skips.
_DAYS_AROUND: Final = 2
_MINUTE_NS: Final = NS_PER_UNIT["min"]


class TimeKind(enum.StrEnum):
    """What a machine is meant to do at an instant."""

    SCHEDULED = "SCHEDULED"
    BREAK = "BREAK"
    NOT_SCHEDULED = "NOT_SCHEDULED"


class Zone(NamedTuple):
    """A time zone, as the shell hands it in.

    ``utc_ns`` takes a wall-clock time (naive) and returns UTC nanoseconds: of an ambiguous time the first, of a skipped
    one that much later. ``local`` takes UTC nanoseconds and returns the wall-clock time (naive).
    """

    name: str
    utc_ns: Callable[[datetime], int]
    local: Callable[[int], datetime]


class CalendarSpan(NamedTuple):
    """A stretch of time of one kind, ``from_ns`` included, ``to_ns`` not, UTC nanoseconds.

    ``shift`` is None outside of shifts. ``production_day`` is a date as text, such as "2026-03-27"; outside of shifts
    it is the date on the wall clock, and the span ends at midnight.
    """

    kind: TimeKind
    shift: str | None
    production_day: str
    from_ns: int
    to_ns: int


class Shift(NamedTuple):
    """One shift on one date; ``breaks`` are its fixed ones, ``flexible_ns`` the length of the rolling one."""

    name: str
    production_day: str
    from_ns: int
    to_ns: int
    breaks: tuple[tuple[int, int], ...]
    flexible_ns: int


class _Week(NamedTuple):
    starts: list[int]
    spans: list[CalendarSpan]
    shifts: list[Shift | None]


class ShiftCalendar:
    """The rule, prepared. Answers are the same whatever was asked before; a few weeks are kept to be quick."""

    def __init__(self, rule: CalendarRule, zone: Zone) -> None:
        self._pattern = Pattern(rule)
        self._zone = zone
        self._majority = rule.production_day == "majority"
        self._weeks: OrderedDict[int, _Week] = OrderedDict()
        self._last: CalendarSpan | None = None

    def at(self, t_ns: int) -> CalendarSpan:
        """The span that holds an instant; a boundary belongs to what begins.

        Raises ValueError before 1970 and after 2262.
        """
        last = self._last
        if last is None or not last.from_ns <= t_ns < last.to_ns:
            week, index = self._find(t_ns)
            last = self._last = week.spans[index]
        return last

    def next_boundary(self, t_ns: int) -> int:
        """The next instant at which kind, shift or production day may change, a day and an hour or so ahead at most."""
        return self.at(t_ns).to_ns

    def shift_at(self, t_ns: int) -> Shift | None:
        """The whole shift that holds an instant, None outside of shifts."""
        week, index = self._find(t_ns)
        return week.shifts[index]

    def spans(self, from_ns: int, to_ns: int) -> Iterator[CalendarSpan]:
        """Every span that holds a part of the interval, in order, none of them cut."""
        while from_ns < to_ns:
            span = self.at(from_ns)
            yield span
            from_ns = span.to_ns

    def _find(self, t_ns: int) -> tuple[_Week, int]:
        if not 0 <= t_ns <= LAST_NS:
            raise ValueError(f"instant: found {t_ns} ns, allowed 0 to {LAST_NS} (1970 to 2262)")
        week = self._week(self._day(t_ns) // DAYS_PER_WEEK)
        return week, bisect_right(week.starts, t_ns) - 1

    def _day(self, t_ns: int) -> int:
        """The latest date whose midnight is not after the instant; clocks may go back over midnight."""
        day = self._zone.local(t_ns).toordinal()
        while self._instant(day, 0) > t_ns:
            day -= 1
        while self._instant(day + 1, 0) <= t_ns:
            day += 1
        return day

    def _instant(self, day: int, minute: int) -> int:
        return self._zone.utc_ns(datetime.combine(date.fromordinal(day), time()) + timedelta(minutes=minute))

    def _week(self, number: int) -> _Week:
        week = self._weeks.get(number)
        if week is None:
            week = self._weeks[number] = self._made(number * DAYS_PER_WEEK)
            if len(self._weeks) > WEEKS_CACHED:
                self._weeks.popitem(last=False)
        else:
            self._weeks.move_to_end(number)
        return week

    def _made(self, first: int) -> _Week:
        midnights = [self._instant(day, 0) for day in range(first, first + DAYS_PER_WEEK + 1)]
        week = _Week([], [], [])
        at_ns, end_ns = midnights[0], midnights[-1]
        for shift in self._shifts(first - _DAYS_AROUND, first + DAYS_PER_WEEK + _DAYS_AROUND):
            if shift.to_ns <= at_ns or shift.from_ns >= end_ns:
                continue
            self._add(week, None, _idle(first, midnights, at_ns, shift.from_ns))
            self._add(week, shift, _pieces(shift))
            at_ns = shift.to_ns
        self._add(week, None, _idle(first, midnights, at_ns, end_ns))
        return week

    @staticmethod
    def _add(week: _Week, shift: Shift | None, spans: Iterable[CalendarSpan]) -> None:
        for span in spans:
            week.starts.append(span.from_ns)
            week.spans.append(span)
            week.shifts.append(shift)

    def _shifts(self, first: int, end: int) -> list[Shift]:
        """The shifts that start on these dates, in order, without overlap.

        Backwards, because a time that the clocks skip gives way to the next one that exists.
        """
        found: list[Shift] = []
        limit_ns: int | None = None
        for day in range(end - 1, first - 1, -1):
            for planned in reversed(self._pattern.shifts_on(day)):
                start_ns, end_ns = self._instant(day, planned.start_min), self._instant(day, planned.end_min)
                if limit_ns is not None:
                    end_ns = min(end_ns, limit_ns)
                limit_ns = start_ns = min(start_ns, end_ns)
                if start_ns < end_ns:
                    found.append(self._shift(planned, start_ns, end_ns))
        return found[::-1]

    def _shift(self, planned: PlannedShift, start_ns: int, end_ns: int) -> Shift:
        day = planned.day
        if self._majority:
            midnight_ns = self._instant(day + 1, 0)
            day += end_ns - midnight_ns > midnight_ns - start_ns
        breaks: list[tuple[int, int]] = []
        begins = sorted((self._instant(planned.day, minute), minutes) for minute, minutes in planned.breaks)
        for at_ns, minutes in begins:
            from_ns, to_ns = max(at_ns, start_ns), min(at_ns + minutes * _MINUTE_NS, end_ns)
            if breaks and from_ns <= breaks[-1][1]:
                breaks[-1] = breaks[-1][0], max(to_ns, breaks[-1][1])
            elif from_ns < to_ns:
                breaks.append((from_ns, to_ns))
        return Shift(planned.name, _text(day), start_ns, end_ns, tuple(breaks), planned.flexible_ns)


def flexible_break(shift: Shift, stops: Iterable[tuple[int, int]]) -> tuple[int, int] | None:
    """Where the rolling break of a shift was: at the beginning of the longest stop that covers it, the first of equals.

    ``stops`` are intervals in UTC nanoseconds, without the fixed breaks; what lies outside of the shift does not count.
    None where the shift has no rolling break, or no stop is long enough.
    """
    longest: tuple[int, int] | None = None
    for start_ns, end_ns in stops:
        from_ns, to_ns = max(start_ns, shift.from_ns), min(end_ns, shift.to_ns)
        if longest is None or (from_ns - to_ns, from_ns) < (longest[0] - longest[1], longest[0]):
            longest = from_ns, to_ns
    if longest is None or not 0 < shift.flexible_ns <= longest[1] - longest[0]:
        return None
    return longest[0], longest[0] + shift.flexible_ns


def _pieces(shift: Shift) -> Iterator[CalendarSpan]:
    at_ns = shift.from_ns
    for from_ns, to_ns in shift.breaks:
        if at_ns < from_ns:
            yield CalendarSpan(TimeKind.SCHEDULED, shift.name, shift.production_day, at_ns, from_ns)
        yield CalendarSpan(TimeKind.BREAK, shift.name, shift.production_day, from_ns, to_ns)
        at_ns = to_ns
    if at_ns < shift.to_ns:
        yield CalendarSpan(TimeKind.SCHEDULED, shift.name, shift.production_day, at_ns, shift.to_ns)


def _idle(first: int, midnights: list[int], from_ns: int, to_ns: int) -> Iterator[CalendarSpan]:
    for day, (begin_ns, end_ns) in enumerate(pairwise(midnights), first):
        start_ns, stop_ns = max(begin_ns, from_ns), min(end_ns, to_ns)
        if start_ns < stop_ns:
            yield CalendarSpan(TimeKind.NOT_SCHEDULED, None, _text(day), start_ns, stop_ns)


def _text(day: int) -> str:
    return date.fromordinal(day).isoformat()
