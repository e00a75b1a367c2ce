"""The posting date of a confirmation: the production day of what it confirms, fixed when it is made.

A resend after midnight does not change it. Where the ERP has closed that period, the date stays until a person moves it
to the present one; then it is another content, so another confirmation, and the dates of the events stay in it.
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, NamedTuple

from gateway.core.confirming import corrections
from gateway.core.confirming.corrections import Capability, CorrectionRefused, EntryKind, Plan
from gateway.core.confirming.hold_back import Delivery

if TYPE_CHECKING:
    from gateway.core.calendar.shift_calendar import ShiftCalendar, Zone
    from gateway.core.confirming.booked import Content
    from gateway.core.confirming.corrections import Ledger, Who


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


def posted_today(ledger: Ledger, content: Content, today: str, by: Who) -> Plan | CorrectionRefused:
    """A confirmation that the ERP refused, made anew with the same pieces to be posted ``today``.

    ``today`` is the production day of now. That the period is closed is the person's word: the ERP names no dates.
    """
    if content.delivery is not Delivery.PARKED:
        text = f"{content.key} is {content.delivery}, and only what the ERP refused gets another date"
        return CorrectionRefused("PARKED", text, "wait for the ERP's answer; what is booked is corrected")
    if content.kind is EntryKind.REVERSAL or min(content.pieces) < 0:
        text = f"{content.key} takes something back, and is posted on the day of that"
        return CorrectionRefused(
            "TAKES_BACK", text, "have the period opened in the ERP and retry it, or book it by hand"
        )
    if not content.posting_date:
        text = f"{content.key} says no posting date"
        return CorrectionRefused("NO_POSTING_DATE", text, "retry it: the ERP chooses the date")
    if _day(today) <= _day(content.posting_date):
        text = f"{content.key} is posted on {content.posting_date}, and today is {today}"
        return CorrectionRefused("PERIOD_CLOSED", text, "have the present period opened in the ERP, then retry it")
    dated = PostingDate(content.posting_date, content.event_day)
    moved = into_present_period(dated, content.posting_date, today, by)
    if isinstance(moved, PostingRefused):
        return CorrectionRefused(moved.code, moved.text, moved.what_to_do)
    plan = corrections.replace(ledger, content.key, content.pieces, by, Capability.MANUAL)
    if isinstance(plan, CorrectionRefused):
        return plan
    made = tuple(one if one.kind is EntryKind.REVERSAL else one._replace(posting=moved.posting) for one in plan.drafts)
    return plan._replace(drafts=made)


def _day(text: str) -> date:
    return date.fromisoformat(text)
