"""The posting date of a confirmation: the production day of what it confirms, fixed when it is made.

A resend after midnight does not change it. Where the ERP has closed that period, the date stays until a person moves it
to the present one; then it is another content, so another confirmation, and the dates of the events stay in it.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from gateway.core.calendar.shift_calendar import ShiftCalendar, Zone
    from gateway.core.confirming.corrections import Who


class PostingDate(NamedTuple):
    """``posting`` is what the ERP is told, ``event_day`` the production day; dates as text, such as "2026-03-27".

    They differ only where a person moved the former: ``moved_by``, ``moved_ns`` and ``reason`` say who, when and why.
    """

    posting: str
    event_day: str
    moved_by: str = ""
    moved_ns: int = 0
    reason: str = ""


class PostingRefused(NamedTuple):
    """The date stays."""

    code: str
    text: str
    what_to_do: str

    def __str__(self) -> str:
        return f"{self.code}: {self.text}; {self.what_to_do}"


def posting_date(calendar: ShiftCalendar | None, zone: Zone, from_utc_ns: int, to_utc_ns: int) -> PostingDate:
    """The date of a period, ``to_utc_ns`` not included; without a calendar the date on the wall clock.

    A period that ends with a shift is of that shift, also where the next begins at the same instant. Both in UTC
    nanoseconds. Raises ValueError for a period that ends before it begins.
    """
    if to_utc_ns < from_utc_ns:
        raise ValueError(f"period: found its end {from_utc_ns - to_utc_ns} ns before its beginning")
    last_ns = max(from_utc_ns, to_utc_ns - 1)
    day = zone.local(last_ns).date().isoformat() if calendar is None else calendar.at(last_ns).production_day
    return PostingDate(day, day)


def in_closed_period(dated: PostingDate, closed_through: str) -> bool:
    """Whether the ERP's books are closed for it. ``closed_through``: the last day that is closed, "" for none."""
    return bool(closed_through) and _day(dated.posting) <= _day(closed_through)


def into_present_period(dated: PostingDate, closed_through: str, today: str, by: Who) -> PostingDate | PostingRefused:
    """The date that a person chooses for a confirmation whose period is closed: today, nothing else.

    ``today`` is the production day of now. The confirmation is to be replaced by one with this date
    (``corrections.replace`` with the same pieces): it must not be at the ERP.
    """
    if not by.who.strip() or not by.reason.strip():
        return PostingRefused("WHO_AND_WHY", "found no name or no reason", "log in and say why it is posted later")
    if not in_closed_period(dated, closed_through):
        text = f"{dated.posting} is not in a closed period (closed through {closed_through or 'none'})"
        return PostingRefused("PERIOD_OPEN", text, "leave the date as it is")
    if _day(today) <= _day(closed_through):
        text = f"today ({today}) is in a closed period, too (closed through {closed_through})"
        return PostingRefused("PERIOD_CLOSED", text, "have the present period opened in the ERP, then repeat")
    return PostingDate(today, dated.event_day, by.who, by.at_ns, by.reason)


def _day(text: str) -> date:
    return date.fromisoformat(text)
