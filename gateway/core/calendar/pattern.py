"""Which shifts start on a date, in minutes on the wall clock: the usual week, and exceptions.

Knows no zone: clock changes are ``shift_calendar.py``'s. Holds the checks across dates that one rule alone cannot make.
"""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import TYPE_CHECKING, Final, NamedTuple

from gateway.core.calendar.time_of_day import MINUTES_PER_DAY, minutes_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.core.rules_calendar import BreakRule, CalendarRule, ExceptionRule, ShiftRule

DAYS_PER_WEEK: Final = 7
_WEEKDAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class PlannedShift(NamedTuple):
    """A shift as it is planned on one date.

    ``day`` is the proleptic ordinal of the date; ``start_min`` and ``end_min`` are minutes after its midnight on the
    wall clock (the end up to 2880), ``breaks`` pairs of a start on the same scale and a length in minutes.
    """

    name: str
    day: int
    start_min: int
    end_min: int
    breaks: tuple[tuple[int, int], ...]
    flexible_ns: int

    def __str__(self) -> str:
        hours = "-".join(f"{minute // 60 % 24:02d}:{minute % 60:02d}" for minute in (self.start_min, self.end_min))
        return f"{self.name} ({hours} of {_WEEKDAYS[(self.day - 1) % DAYS_PER_WEEK]})"


class Pattern:
    """The rule, prepared: date to shifts."""

    def __init__(self, rule: CalendarRule) -> None:
        self._rule = rule
        dated = sorted((entry.first.toordinal(), entry.last.toordinal(), n) for n, entry in enumerate(rule.exceptions))
        self._first = [first for first, _, _ in dated]
        self._last = [last for _, last, _ in dated]
        self._exceptions = [rule.exceptions[n] for _, _, n in dated]

    def shifts_on(self, day: int) -> tuple[PlannedShift, ...]:
        """The shifts that start on a date (its ordinal), in the order of their start."""
        exception = self._exception(day)
        if exception is None:
            return _planned(self._rule.shifts, day, {})
        return _planned(self._worked(exception), day, exception.breaks)

    def check(self) -> None:
        """Raise ValueError for shifts that overlap, for names nobody knows, and for a date with two exceptions."""
        self._check_names()
        week = range(1, DAYS_PER_WEEK + 2)  # day 1 is a Monday; the second Monday is the last Sunday's neighbour
        usual = [shift for day in week for shift in _planned(self._rule.shifts, day, {})]
        _check_order("shifts", usual)
        for name, model in self._rule.models.items():
            for day in week:
                _check_order(f"models: {name}", _planned(model, day, {}))
        for first, last, exception in zip(self._first, self._last, self._exceptions, strict=True):
            self._check_exception(first, last, exception)

    def _exception(self, day: int) -> ExceptionRule | None:
        index = bisect_right(self._first, day) - 1
        return self._exceptions[index] if index >= 0 and day <= self._last[index] else None

    def _worked(self, exception: ExceptionRule) -> dict[str, ShiftRule]:
        usual = self._rule.shifts if exception.model is None else self._rule.models[exception.model]
        kept = (
            {} if exception.closed else {name: shift for name, shift in usual.items() if name not in exception.cancel}
        )
        return {**kept, **exception.add}

    def _check_names(self) -> None:
        for before, first, exception in zip(self._last, self._first[1:], self._exceptions[1:], strict=False):
            if first <= before:
                raise ValueError(f"exceptions: found {exception.date} twice; allowed: one exception for a date")
        for exception in self._exceptions:
            if exception.model is not None and exception.model not in self._rule.models:
                known = ", ".join(self._rule.models) or "none is defined"
                raise ValueError(f"exceptions: {exception.date}: found model {exception.model!r}, allowed: {known}")

    def _check_exception(self, first: int, last: int, exception: ExceptionRule) -> None:
        where = f"exceptions: {exception.date}"
        usual = self._rule.shifts if exception.model is None else self._rule.models[exception.model]
        worked = self._worked(exception)
        days = range(first, min(last, first + DAYS_PER_WEEK - 1) + 1)
        both = sorted(set(exception.add) & set(usual)) if not exception.closed else []
        both = [name for name in both if name not in exception.cancel]
        if both:
            raise ValueError(
                f"{where}: add: found {', '.join(both)}, a shift of that day already; allowed: another name"
            )
        _check_known(f"{where}: cancel", exception.cancel, usual, days)
        _check_known(f"{where}: breaks", exception.breaks, worked, days)
        for name, breaks in exception.breaks.items():
            _check_breaks(f"{where}: breaks: {name}", worked[name], breaks)
        _check_known(f"{where}: add", exception.add, exception.add, days)
        # The weeks inside of a long exception are alike: its first eight days and its last two show every neighbour.
        near = sorted({*range(first - 1, min(last, first + DAYS_PER_WEEK) + 2), last, last + 1})
        for day in near[:-1]:
            _check_order(where, [*self.shifts_on(day), *self.shifts_on(day + 1)])


def _planned(
    shifts: Mapping[str, ShiftRule], day: int, more: Mapping[str, tuple[BreakRule, ...]]
) -> tuple[PlannedShift, ...]:
    weekday = _WEEKDAYS[(day - 1) % DAYS_PER_WEEK]
    found = [
        PlannedShift(
            name=name,
            day=day,
            start_min=int(shift.start),
            end_min=shift.start + shift.minutes,
            breaks=tuple(sorted(_placed(shift, pause) for pause in (*shift.breaks, *more.get(name, ())))),
            flexible_ns=int(shift.flexible_break),
        )
        for name, shift in shifts.items()
        if weekday in shift.days
    ]
    return tuple(sorted(found, key=lambda shift: (shift.start_min, shift.end_min)))


def _placed(shift: ShiftRule, pause: BreakRule) -> tuple[int, int]:
    return shift.start + minutes_from(shift.start, pause.start), pause.minutes


def _check_breaks(where: str, shift: ShiftRule, breaks: tuple[BreakRule, ...]) -> None:
    """A further break may lie across a fixed one: together they are the break."""
    for pause in breaks:
        if minutes_from(shift.start, pause.start) + pause.minutes > shift.minutes:
            raise ValueError(f"{where}: found {pause.start}-{pause.end}, allowed inside of the shift {shift}")


def _check_known(where: str, names: Iterable[str], shifts: Mapping[str, ShiftRule], days: range) -> None:
    weekdays = {_WEEKDAYS[(day - 1) % DAYS_PER_WEEK] for day in days}
    there = [name for name, shift in shifts.items() if weekdays & set(shift.days)]
    for name in names:
        if name not in there:
            dated = date.fromordinal(days[0]).isoformat()
            allowed = ", ".join(there) or "no shift starts then"
            raise ValueError(
                f"{where}: found {name!r}, no shift that starts on {dated} or until then; allowed: {allowed}"
            )


def _check_order(where: str, shifts: Iterable[PlannedShift]) -> None:
    before: PlannedShift | None = None
    for shift in shifts:
        if before is not None:
            begin = (shift.day - before.day) * MINUTES_PER_DAY + shift.start_min
            if begin < before.end_min:
                raise ValueError(f"{where}: {before} overlaps {shift}; let one end where the next begins")
        before = shift
