"""What a production day of one work unit came to: the record that closes it, made of facts and never changed.

The record says which journal rows are the day's (each row is one day's, without a gap), what was counted and confirmed
of each operation, where that stood when the day was closed, and what nobody can know. ``complete`` is False as soon as
anything of it is open, missing or in doubt, and ``incomplete`` says what. Its digest covers that of the record before.

Reads no row and no clock: the facts are handed in, already summed up. Changes nothing, decides nothing about pieces.
"""

from __future__ import annotations

import datetime as dt
import enum
import hashlib
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.document import encode, utc

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from gateway.core.calendar.shift_calendar import ShiftCalendar, Zone

FORM: Final = 1
#: Unknown intervals, counter doubts, runs ... that a record names; of more only the number and the sum.
NAMED_MAX: Final = 100
#: A shift that began a day may last so long into the days behind it.
DAYS_AHEAD_NS: Final = 4 * 24 * 3600 * 10**9
ROLES: Final = ("good", "scrap", "rework", "hold", "test")


class Doubt(enum.StrEnum):
    """Why a day is not complete. The names never change."""

    JOURNAL_GAP = "JOURNAL_GAP"  # journal numbers of the day are not there, and no age explains it
    PRUNED = "PRUNED"  # rows of the day went before it was closed
    FOLLOWS_NOTHING = "FOLLOWS_NOTHING"  # the first record, of a journal that begins before it
    UNKNOWN_PIECES = "UNKNOWN_PIECES"
    NOT_RUNNING = "NOT_RUNNING"  # the gateway ended without a word, or was started in the day after it
    IN_REVIEW = "IN_REVIEW"
    UNALLOCATED = "UNALLOCATED"
    NOT_CONFIRMED = "NOT_CONFIRMED"  # pieces of an order that no confirmation holds yet
    NOT_BOOKED = "NOT_BOOKED"
    PARKED = "PARKED"
    CONFIRMATION_GAP = "CONFIRMATION_GAP"
    CLOCK = "CLOCK"  # nobody vouched for the time, or it was stepped
    DATABASE_SET_ASIDE = "DATABASE_SET_ASIDE"


class DayBounds(NamedTuple):
    """A production day, YYYY-MM-DD, from (included) to (not included), UTC nanoseconds."""

    day: str
    from_ns: int
    to_ns: int


class Rows(NamedTuple):
    """The journal rows of the day: the first and last number (``last`` below ``first``: none), how many are there.

    ``pruned_to``: up to this number rows may have gone by their age. ``before``: the number before ``first`` belongs
    to a record, or is none at all.
    """

    first: int
    last: int
    found: int
    pruned_to: int
    before: bool


class Counted(NamedTuple):
    """Pieces that were booked in the day: ``order`` and ``operation`` "" where they had none."""

    order: str
    operation: str
    role: str
    pieces: int


class ConfirmedRow(NamedTuple):
    """A confirmation that was made in the day, as the journal tells it; of a reversal the numbers are below 0.

    ``voided``: it was made void in the same day, so it confirms nothing.
    """

    order: str
    operation: str
    seq: int
    good: int
    scrap: int
    rework: int
    voided: bool = False


class Standing(NamedTuple):
    """Postings of one operation for one target, by state, when the day is closed."""

    order: str
    operation: str
    target: str
    state: str
    postings: int


class Unknown(NamedTuple):
    """Time in which nobody counted; ``max_pieces`` None: nothing bounds it. Steady times."""

    signal: str
    role: str
    from_ns: int
    to_ns: int
    max_pieces: int | None
    flag: str
    order: str
    operation: str


class CounterDoubt(NamedTuple):
    """What a signal's counter said otherwise than by counting on: RESET, BASELINE ..., how often and how much."""

    signal: str
    flag: str
    times: int
    pieces: int
    review: int
    max_lost: int


class RunMark(NamedTuple):
    """The process began or ended; steady time. ``in_order`` False: the run before it said no word of its end."""

    at_ns: int
    what: str
    in_order: bool


class ClockStep(NamedTuple):
    """What was learned of UTC; steady time, and by how much it moved."""

    at_ns: int
    by_ns: int
    reason: str
    quality: str


class OpenNow(NamedTuple):
    """What the work unit has when the day is closed: without an order, in review, and not confirmed by operation."""

    unallocated: Mapping[str, int]
    review: int
    not_confirmed: Sequence[tuple[str, str, int]]


class DayFacts(NamedTuple):
    """Everything that a record is made of. ``utc_offset_ns``: UTC minus steady time, by which instants are named.

    ``previous``: the digest of the record before, "" for the first. ``set_aside``: names of databases that were set
    aside in the day. ``number`` counts from 1.
    """

    work_unit: str
    gateway: str
    epoch: str
    number: int
    previous: str
    bounds: DayBounds
    closed_ns: int
    utc_offset_ns: int
    clock_known: bool
    rows: Rows
    counted: Sequence[Counted]
    confirmed: Sequence[ConfirmedRow]
    reclassified: Mapping[str, int]
    standing: Sequence[Standing]
    unknown: Sequence[Unknown]
    counters: Sequence[CounterDoubt]
    runs: Sequence[RunMark]
    clock: Sequence[ClockStep]
    set_aside: Sequence[str]
    open_now: OpenNow


class Record(NamedTuple):
    """A closing record: its document as canonical JSON, and what is looked for."""

    complete: bool
    incomplete: tuple[str, ...]
    digest: str
    document: bytes


def day_of(calendar: ShiftCalendar | None, zone: Zone, at_ns: int) -> DayBounds:
    """The production day that goes on at a UTC instant; ``from_ns`` is that instant itself.

    A day ends where no later span of the calendar belongs to it or to a day before it; without a calendar it ends at
    the plant's midnight. Raises ValueError before 1970 and after 2262.
    """
    if calendar is None:
        local = zone.local(at_ns)
        midnight = dt.datetime.combine(local.date() + dt.timedelta(days=1), dt.time())
        end_ns = zone.utc_ns(midnight)
        return DayBounds(local.date().isoformat(), at_ns, end_ns if end_ns > at_ns else at_ns + 24 * 3600 * 10**9)
    day = calendar.at(at_ns).production_day
    end_ns = at_ns
    for span in calendar.spans(at_ns, at_ns + DAYS_AHEAD_NS):
        if span.production_day <= day:
            end_ns = span.to_ns
    return DayBounds(day, at_ns, end_ns)


def day_began(calendar: ShiftCalendar | None, zone: Zone, at_ns: int) -> DayBounds:
    """The production day that holds a UTC instant, with its own beginning. Raises ValueError as ``day_of``."""
    found = day_of(calendar, zone, at_ns)
    if calendar is None:
        midnight = dt.datetime.combine(zone.local(at_ns).date(), dt.time())
        return found._replace(from_ns=min(zone.utc_ns(midnight), at_ns))
    from_ns = at_ns
    for span in calendar.spans(max(at_ns - DAYS_AHEAD_NS, 0), at_ns + 1):
        from_ns = at_ns if span.production_day < found.day else min(from_ns, span.from_ns)
    return found._replace(from_ns=from_ns)


def record_of(facts: DayFacts) -> Record:
    """The record of these facts: the same facts, the same bytes."""
    named = _Named(facts)
    incomplete = tuple(dict.fromkeys(doubt.value for doubt in _doubts(facts)))
    document = {
        "form": FORM,
        "gateway_id": facts.gateway,
        "epoch": facts.epoch,
        "machine": facts.work_unit,
        "number": facts.number,
        "production_day": facts.bounds.day,
        "from": utc(facts.bounds.from_ns),
        "to": utc(facts.bounds.to_ns),
        "closed_at": utc(facts.closed_ns + facts.utc_offset_ns),
        "complete": not incomplete,
        "incomplete": list(incomplete),
        "journal": {
            "first": facts.rows.first if facts.rows.last >= facts.rows.first else None,
            "last": facts.rows.last if facts.rows.last >= facts.rows.first else None,
            "rows": facts.rows.found,
            "missing": _missing(facts.rows),
        },
        "operations": _operations(facts),
        "unallocated": {role: _sum(facts.counted, "", "", role) for role in ROLES},
        "reclassified": dict(sorted(facts.reclassified.items())),
        "open_at_close": {
            "unallocated": dict(sorted(facts.open_now.unallocated.items())),
            "in_review": facts.open_now.review,
        },
        **named.doubts(),
        "databases_set_aside": list(facts.set_aside[:NAMED_MAX]),
        "previous": facts.previous,
    }
    digest = hashlib.sha256(encode(document)).hexdigest()
    return Record(not incomplete, incomplete, digest, encode({**document, "digest": digest}))


def digest_of(document: Mapping[str, Any]) -> str:
    """The digest that a record must carry, whatever it says of itself."""
    return hashlib.sha256(encode({key: value for key, value in document.items() if key != "digest"})).hexdigest()


class _Named:
    """What is named with its time."""

    def __init__(self, facts: DayFacts) -> None:
        self._facts = facts

    def doubts(self) -> dict[str, Any]:
        """Gaps, counters, clock and runs."""
        facts = self._facts
        bounds = [one.max_pieces for one in facts.unknown]
        return {
            "unknown": {
                "intervals": len(bounds),
                "max_pieces": None if None in bounds else sum(one for one in bounds if one is not None),
                "named": [
                    {**one._asdict(), "from_ns": self._at(one.from_ns), "to_ns": self._at(one.to_ns)}
                    for one in facts.unknown[:NAMED_MAX]
                ],
            },
            "counters": [one._asdict() for one in facts.counters[:NAMED_MAX]],
            "clock": [{**one._asdict(), "at_ns": self._at(one.at_ns)} for one in facts.clock[:NAMED_MAX]],
            "runs": [{**one._asdict(), "at_ns": self._at(one.at_ns)} for one in facts.runs[:NAMED_MAX]],
        }

    def _at(self, steady_ns: int) -> int:
        # Kept as a number: the name of an instant may be learned better, its distance to others may not.
        return steady_ns + self._facts.utc_offset_ns


def _doubts(facts: DayFacts) -> Iterable[Doubt]:
    rows, now = facts.rows, facts.open_now
    missing = _missing(rows)
    states = {one.state for one in facts.standing if one.postings}
    checks = {
        Doubt.JOURNAL_GAP: missing and rows.pruned_to < rows.first,
        Doubt.PRUNED: missing and rows.pruned_to >= rows.first,
        Doubt.FOLLOWS_NOTHING: not rows.before,
        Doubt.UNKNOWN_PIECES: any(one.max_pieces != 0 for one in facts.unknown),
        Doubt.NOT_RUNNING: any(not one.in_order for one in facts.runs) or _away(facts),
        Doubt.IN_REVIEW: now.review,
        Doubt.UNALLOCATED: any(now.unallocated.values()),
        Doubt.NOT_CONFIRMED: any(pieces for _, _, pieces in now.not_confirmed),
        Doubt.NOT_BOOKED: states - {"posted", "delivered", "superseded", "voided", "parked"},
        Doubt.PARKED: "parked" in states,
        Doubt.CONFIRMATION_GAP: any(not one["gapless"] for one in _operations(facts)),
        Doubt.CLOCK: not facts.clock_known or any(one.reason == "stepped" for one in facts.clock),
        Doubt.DATABASE_SET_ASIDE: facts.set_aside,
    }
    return [doubt for doubt, there in checks.items() if there]


def _away(facts: DayFacts) -> bool:
    """A stretch of the day in which no process ran: from an end (or the day's beginning) to a start."""
    return any(one.what == "started" for one in facts.runs) or (facts.rows.last < facts.rows.first and not facts.runs)


def _missing(rows: Rows) -> int:
    return max(rows.last - rows.first + 1, 0) - rows.found


def _sum(counted: Iterable[Counted], order: str, operation: str, role: str) -> int:
    return sum(one.pieces for one in counted if (one.order, one.operation, one.role) == (order, operation, role))


def _operations(facts: DayFacts) -> list[dict[str, Any]]:
    keys = {(one.order, one.operation) for one in facts.counted if one.order}
    keys |= {(one.order, one.operation) for one in facts.confirmed}
    keys |= {(one.order, one.operation) for one in facts.standing if one.operation}
    keys |= {(order, operation) for order, operation, _ in facts.open_now.not_confirmed}
    return [_operation(facts, *key) for key in sorted(keys)]


def _operation(facts: DayFacts, order: str, operation: str) -> dict[str, Any]:
    made = [one for one in facts.confirmed if (one.order, one.operation) == (order, operation)]
    numbers = sorted(one.seq for one in made)
    stand = [one for one in facts.standing if (one.order, one.operation) == (order, operation)]
    left = [pieces for *key, pieces in facts.open_now.not_confirmed if tuple(key) == (order, operation)]
    return {
        "order": order,
        "operation": operation,
        "counted": {role: _sum(facts.counted, order, operation, role) for role in ROLES},
        "confirmed": {
            "confirmations": len(numbers),
            "first": numbers[0] if numbers else None,
            "last": numbers[-1] if numbers else None,
            "voided": sum(one.voided for one in made),
            **{role: sum(getattr(one, role) for one in made if not one.voided) for role in ("good", "scrap", "rework")},
        },
        "gapless": numbers == list(range(numbers[0], numbers[0] + len(numbers))) if numbers else True,
        "not_confirmed": sum(left),
        "postings": [
            {"target": one.target, "state": one.state, "postings": one.postings}
            for one in sorted(stand, key=lambda one: (one.target, one.state))
        ],
    }
