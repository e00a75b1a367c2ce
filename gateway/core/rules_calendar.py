"""The rules of a shift calendar, exactly as the configuration file writes them.

Plain frozen dataclasses in the style of ``rules.py``. Times are those of the wall clock in the plant's time zone
(``gateway.timezone``); which instants they are is ``calendar/shift_calendar.py``'s.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal

from gateway.core.calendar.pattern import Pattern
from gateway.core.calendar.time_of_day import MINUTES_PER_DAY, TimeOfDay, minutes_from
from gateway.core.duration import NS_PER_UNIT, Duration
from gateway.core.rules import FORBID_UNKNOWN_KEYS

SHIFTS_MAX: Final = 24  # of one day
BREAKS_MAX: Final = 16  # of one shift
MODELS_MAX: Final = 32
EXCEPTIONS_MAX: Final = 1000
EXCEPTION_DAYS_MAX: Final = 366  # of one exception
SHIFT_NAME_MAX_CHARS: Final = 32

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: Final[tuple[Weekday, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_MINUTE_NS: Final = NS_PER_UNIT["min"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakRule:
    """A fixed break. It lasts as long as the wall clock says on an ordinary day, also when the clocks change in it.

    Attributes:
        start: beginning on the wall clock, such as "10:00".
        end: end on the wall clock; before start means the day after.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    start: TimeOfDay
    end: TimeOfDay

    def __post_init__(self) -> None:
        """It lasts."""
        if minutes_from(self.start, self.end) == 0:
            raise ValueError(f"end: found {self.end}, the same time as start; allowed: another time of day")

    @property
    def minutes(self) -> int:
        """Length in minutes, 1 to 1439."""
        return minutes_from(self.start, self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShiftRule:
    """A shift, over midnight where its end is not after its start.

    Attributes:
        start: beginning on the wall clock, such as "22:00".
        end: end on the wall clock; the same as start makes 24 hours.
        days: weekdays on which it starts.
        breaks: fixed breaks in it.
        flexible_break: a break of this length that everybody takes when it suits; it has no fixed time.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    start: TimeOfDay
    end: TimeOfDay
    days: tuple[Weekday, ...] = WEEKDAYS
    breaks: tuple[BreakRule, ...] = ()
    flexible_break: Duration = Duration(0)

    def __post_init__(self) -> None:
        """The breaks fit into it."""
        if self.start == MINUTES_PER_DAY:
            raise ValueError("start: found 24:00, allowed 00:00 to 23:59; a shift that starts at midnight is 00:00")
        doubled = sorted({day for day in self.days if self.days.count(day) > 1})
        if not self.days or doubled:
            raise ValueError(f"days: found {', '.join(doubled) + ' twice' if doubled else 'none'}, allowed each once")
        check_breaks(self, self.breaks)
        net_ns = (self.minutes - sum(pause.minutes for pause in self.breaks)) * _MINUTE_NS
        if self.flexible_break > net_ns:
            raise ValueError(
                f"flexible_break: found {self.flexible_break}, allowed up to the {Duration(net_ns)} of work"
            )

    @property
    def minutes(self) -> int:
        """Length on the wall clock, 1 to 1440 minutes."""
        return minutes_from(self.start, self.end) or MINUTES_PER_DAY

    def __str__(self) -> str:
        return f"{self.start}-{self.end}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExceptionRule:
    """Dates with other shifts. Meant are the shifts that start on them: a night shift belongs to its evening.

    Attributes:
        date: the date, or the first of several, such as 2026-12-24.
        until: the last date.
        closed: none of the usual shifts (a holiday).
        model: the shifts of this model instead of the usual ones.
        cancel: shifts that are not worked.
        add: shifts besides (overtime); their days count too.
        breaks: further breaks, by the name of the shift they are in.
        text: what the occasion is.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    date: str
    until: str | None = None
    closed: bool = False
    model: str | None = None
    cancel: tuple[str, ...] = ()
    add: dict[str, ShiftRule] = field(default_factory=dict)
    breaks: dict[str, tuple[BreakRule, ...]] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        """The dates exist, and something is different on them."""
        days = self.last.toordinal() - self.first.toordinal() + 1
        if days < 1:
            raise ValueError(f"until: found {self.until}, allowed {self.date} and after it")
        if days > EXCEPTION_DAYS_MAX:
            raise ValueError(f"until: found {self.until}, {days} days; allowed {EXCEPTION_DAYS_MAX} days at most")
        if self.closed and (self.model or self.cancel):
            raise ValueError("closed: found with model or cancel; a closed day has none of these shifts, drop one")
        if not (self.closed or self.model or self.cancel or self.add or self.breaks):
            raise ValueError("found nothing that is different; allowed: closed, model, cancel, add or breaks")
        check_names("add", self.add)

    @property
    def first(self) -> dt.date:
        """The first date."""
        return _date("date", self.date)

    @property
    def last(self) -> dt.date:
        """The last date."""
        return self.first if self.until is None else _date("until", self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class CalendarRule:
    """When a machine is meant to work: the usual week, other weeks by name, and the dates on which they apply.

    Attributes:
        shifts: the usual shifts by name.
        models: other sets of shifts, which exceptions name.
        exceptions: holidays, overtime, further breaks.
        production_day: which date a shift belongs to: ``start``, the one on which it starts; ``majority``, the one on
            which more of it lies.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = FORBID_UNKNOWN_KEYS

    shifts: dict[str, ShiftRule]
    models: dict[str, dict[str, ShiftRule]] = field(default_factory=dict)
    exceptions: tuple[ExceptionRule, ...] = ()
    production_day: Literal["start", "majority"] = "start"

    def __post_init__(self) -> None:
        """Names are known, and no shift overlaps another on any date."""
        check_names("shifts", self.shifts)
        if len(self.models) > MODELS_MAX:
            raise ValueError(f"models: found {len(self.models)}, allowed up to {MODELS_MAX}")
        for name, model in self.models.items():
            check_names(f"models: {name}", model)
        if len(self.exceptions) > EXCEPTIONS_MAX:
            raise ValueError(f"exceptions: found {len(self.exceptions)}, allowed up to {EXCEPTIONS_MAX}")
        Pattern(self).check()


def check_names(where: str, shifts: dict[str, ShiftRule]) -> None:
    """Raise ValueError for names that cannot stand in a topic or a message, and for too many."""
    if len(shifts) > SHIFTS_MAX:
        raise ValueError(f"{where}: found {len(shifts)} shifts, allowed up to {SHIFTS_MAX}")
    for name in shifts:
        if not re.fullmatch(r"[\w-]+", name) or len(name) > SHIFT_NAME_MAX_CHARS:
            raise ValueError(
                f"{where}: found the name {name!r}, allowed 1 to {SHIFT_NAME_MAX_CHARS} letters, digits, - and _"
            )


def check_breaks(shift: ShiftRule, breaks: tuple[BreakRule, ...]) -> None:
    """Raise ValueError for breaks outside of the shift, across each other, or too many."""
    if len(breaks) > BREAKS_MAX:
        raise ValueError(f"breaks: found {len(breaks)}, allowed up to {BREAKS_MAX}")
    placed = sorted((minutes_from(shift.start, pause.start), pause.minutes, pause) for pause in breaks)
    free_from = 0
    for begin, minutes, pause in placed:
        if begin + minutes > shift.minutes:
            raise ValueError(f"breaks: found {pause.start}-{pause.end}, allowed inside of the shift {shift}")
        if begin < free_from:
            raise ValueError(
                f"breaks: found {pause.start}-{pause.end} across another break; allowed one after the other"
            )
        free_from = begin + minutes


def _date(key: str, text: str) -> dt.date:
    wrong = f"{key}: found {text!r}, allowed: a date that exists, such as 2026-12-24"
    if not _DATE.fullmatch(text):
        raise ValueError(wrong)
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError(wrong) from None
