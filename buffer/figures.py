"""The figures of the buffer: what waits, how it grows, when it is full, what is lost for certain, what is held.

One statement reads them all at one moment, and ``figures_of`` makes them of its rows: the status, MQTT, the command
line and the API show this object and nothing else. Reads no file and no clock; what is beside the database (free disk,
write-ahead log, reserve) is handed in as ``Beside``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.entry import OPEN_STATES, OVER
from gateway.core.duration import Duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Rates are told over this stretch, as far as there are samples of it.
RECENT_NS: Final = Duration("5 min")
HOUR_NS: Final = Duration("1 h")
DAY_NS: Final = Duration("24 h")
#: Below these parts of the room the buffer is nearly full, or as good as full.
WARNING_PERCENT: Final = 10
FATAL_PERCENT: Final = 5
#: It is told beforehand, too: as it grew in the last day, and in the last hour.
DAILY_WARNING_NS: Final = Duration("14 d")
HOURLY_WARNING_NS: Final = Duration("72 h")

OK: Final = "ok"
WARNING: Final = "warning"
FATAL: Final = "fatal"

#: Rows of five columns; the first says what they are. One statement, hence one moment.
QUERY: Final = """
    SELECT 'posting', target, state, postings, NULL FROM outbox_tally
    UNION ALL SELECT 'answer', target, state, postings, NULL FROM answer_tally
    UNION ALL SELECT 'notice', target, state, postings, NULL FROM notice_tally
    UNION ALL SELECT 'left_out', target, NULL, sum(notices), NULL FROM notice_left_out GROUP BY target
    UNION ALL SELECT 'oldest', target, NULL, (
        SELECT created_ns FROM outbox
        WHERE target = tally.target AND head = 1 AND kind NOT IN ('ack', 'notice') ORDER BY id LIMIT 1
    ), NULL FROM (SELECT DISTINCT target FROM outbox_tally) AS tally
    UNION ALL SELECT 'unit', id, CASE WHEN json_valid(state) THEN
        json_extract(state, '$.review', '$.unknown', '$.unknown_older') ELSE state END, NULL, NULL
        FROM (SELECT id, CAST(unpacked(snapshot) AS TEXT) AS state FROM work_unit)
    UNION ALL SELECT 'held', NULL, NULL, count(*), NULL FROM job WHERE state = 'ON_HOLD'
    UNION ALL SELECT 'pages', NULL, NULL, page_count, NULL FROM pragma_page_count
    UNION ALL SELECT 'free', NULL, NULL, freelist_count, NULL FROM pragma_freelist_count
    UNION ALL SELECT 'page', NULL, NULL, page_size, NULL FROM pragma_page_size
    UNION ALL SELECT 'time', epoch, NULL, last_time_ns, NULL FROM meta
    UNION ALL SELECT 'size', NULL, at_ns, used_bytes, max_bytes FROM size_sample
    UNION ALL SELECT 'made', target, at_ns, made, settled FROM target_sample
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetFigures:
    """What waits for one target, also for one that is no longer configured.

    Attributes:
        target: its name.
        states: confirmations by open state; every open state is there.
        waiting: confirmations that are neither over nor parked.
        posted: confirmations booked since the database exists.
        delivered: those taken over since then by a target that never says whether it booked them.
        answers: answers to orders by open state; those that have none are left out.
        answers_posted: answers told since the database exists.
        notices: notices by open state; those that have none are left out.
        notices_posted: notices told since the database exists.
        notices_left_out: notices that were not made because too many wait, as long as no later one has said so.
        oldest_ns: when the oldest waiting confirmation was made.
        recent_ns: the stretch of time of the next two, 0 where nothing is known yet.
        made: confirmations, answers and notices that were made in it.
        settled: those that were booked or given up in it.
    """

    target: str
    states: Mapping[str, int]
    waiting: int
    posted: int
    delivered: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    answers_posted: int = 0
    notices: Mapping[str, int] = field(default_factory=dict)
    notices_posted: int = 0
    notices_left_out: int = 0
    oldest_ns: int | None = None
    recent_ns: int = 0
    made: int = 0
    settled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFigures:
    """How full the database is.

    Attributes:
        used_bytes: taken inside the file.
        max_bytes: the most that it may take (``buffer.max_size``); 0: not known yet.
        room_bytes: what it can still take, in the file and on the disk.
        disk_free_bytes: free on its file system; None where it cannot be asked.
        grown_hour_bytes: by so much it grew in the last hour; None: not known yet.
        grown_day_bytes: the same of the last 24 hours.
        full_in_ns: until it is full, as it grew in the last hour (or the last day, where that is sooner); None where it
            is not growing, or that is not known yet.
        level: ``ok``, ``warning``, ``fatal``.
        reason: why it is not ok, "" where it is.
    """

    used_bytes: int
    max_bytes: int
    room_bytes: int
    disk_free_bytes: int | None
    grown_hour_bytes: int | None
    grown_day_bytes: int | None
    full_in_ns: int | None
    level: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LostFigures:
    """What cannot be known any more, with its bounds; never invented, never booked.

    Attributes:
        intervals: stretches of time in which pieces may have been made that nobody can know.
        max_pieces: at most so many pieces in those that have a bound.
        unbounded: of the intervals, those without a bound.
        set_aside: names of damaged databases that were set aside, with what was in them.
    """

    intervals: int
    max_pieces: int
    unbounded: int
    set_aside: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldFigures:
    """What waits for a person: pieces under review, orders on hold, confirmations to approve, parked ones."""

    review_pieces: int
    orders: int
    needs_approval: int
    parked: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFigures:
    """The best-effort class: what waits for the broker. Counts are since its file was made.

    Attributes:
        path: of its file, "" where it is kept in memory only.
        waiting: events that wait.
        used_bytes: taken in the file; ``max_bytes`` is its budget.
        stored: events written to the file.
        sent: events that the broker acknowledged.
        evicted: events dropped because there was no room; ``evicted_age`` because they were too old.
        error: why it cannot be written, "" where it can.
    """

    path: str
    waiting: int
    used_bytes: int
    max_bytes: int
    stored: int = 0
    sent: int = 0
    evicted: int = 0
    evicted_age: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferFigures:
    """All of it at one moment.

    Attributes:
        at_ns: the moment; in a database that nobody has open the last time in it.
        epoch: name of the database.
        targets: by name.
        waiting: confirmations that wait for any target.
        oldest_ns: when the oldest of them was made.
        database_bytes: size of the file, ``wal_bytes`` of its write-ahead log, ``reserve_bytes`` of the reserve.
        last_commit_ns: when the last transaction ended well, ``last_commit_ms`` how long it took; None where no gateway
            has it open.
        last_backup_ns: when the last copy of it was made, None where none ever was; ``last_backup_file`` where it was
            put ("" where none was), ``last_backup_bytes`` its size then.
        degraded: what is wrong, each in words: what, where, since when, what to do.
    """

    at_ns: int
    epoch: str
    targets: tuple[TargetFigures, ...]
    waiting: int
    oldest_ns: int | None
    room: RoomFigures
    lost: LostFigures
    held: HeldFigures
    database_bytes: int = 0
    wal_bytes: int = 0
    reserve_bytes: int = 0
    last_commit_ns: int | None = None
    last_commit_ms: int | None = None
    last_backup_ns: int | None = None
    last_backup_file: str = ""
    last_backup_bytes: int | None = None
    events: EventFigures | None = None
    degraded: tuple[str, ...] = ()


class Beside(NamedTuple):
    """What is not in the database. Bytes; ``at_ns`` and ``max_bytes``: None where nobody has it open."""

    at_ns: int | None = None
    max_bytes: int | None = None
    disk_free_bytes: int | None = None
    database_bytes: int = 0
    wal_bytes: int = 0
    reserve_bytes: int = 0
    set_aside: tuple[str, ...] = ()
    last_commit_ns: int | None = None
    last_commit_ms: int | None = None
    last_backup_ns: int | None = None
    last_backup_file: str = ""
    last_backup_bytes: int | None = None


def figures_of(rows: Iterable[Sequence[Any]], beside: Beside) -> BufferFigures:
    """The figures in the rows of ``QUERY``."""
    by_kind: dict[str, list[Sequence[Any]]] = {}
    for row in rows:
        by_kind.setdefault(row[0], []).append(row[1:])
    numbers = {kind: by_kind[kind][0][2] for kind in ("pages", "free", "page", "held")}
    epoch, _, last_time_ns, _ = by_kind["time"][0] if "time" in by_kind else ("", None, 0, None)
    at_ns = last_time_ns if beside.at_ns is None else beside.at_ns
    targets = _targets(by_kind, at_ns)
    intervals, pieces, unbounded, review = _doubts(by_kind.get("unit", ()))
    return BufferFigures(
        at_ns=at_ns,
        epoch=epoch,
        targets=targets,
        waiting=sum(one.waiting for one in targets),
        oldest_ns=min((one.oldest_ns for one in targets if one.oldest_ns is not None), default=None),
        room=_room(numbers, by_kind.get("size", ()), at_ns, beside),
        lost=LostFigures(intervals=intervals, max_pieces=pieces, unbounded=unbounded, set_aside=beside.set_aside),
        held=HeldFigures(
            review_pieces=review,
            orders=numbers["held"],
            needs_approval=sum(one.states["needs_approval"] for one in targets),
            parked=sum(one.states["parked"] for one in targets),
        ),
        database_bytes=beside.database_bytes,
        wal_bytes=beside.wal_bytes,
        reserve_bytes=beside.reserve_bytes,
        last_commit_ns=beside.last_commit_ns,
        last_commit_ms=beside.last_commit_ms,
        last_backup_ns=beside.last_backup_ns,
        last_backup_file=beside.last_backup_file,
        last_backup_bytes=beside.last_backup_bytes,
    )


def _targets(by_kind: Mapping[str, list[Sequence[Any]]], at_ns: int) -> tuple[TargetFigures, ...]:
    tally: dict[str, dict[str, int]] = {}
    for name, state, number, _ in by_kind.get("posting", ()):
        tally.setdefault(name, {})[state] = number
    beside: dict[str, dict[str, dict[str, int]]] = {"answer": {}, "notice": {}}
    for kind, of_kind in beside.items():
        for name, state, number, _ in by_kind.get(kind, ()):
            of_kind.setdefault(name, {})[state] = number
    oldest = {name: created_ns for name, _, created_ns, _ in by_kind.get("oldest", ())}
    left_out = {name: number for name, _, number, _ in by_kind.get("left_out", ())}
    samples: dict[str, list[tuple[int, int, int]]] = {}
    for name, when_ns, made, settled in by_kind.get("made", ()):
        samples.setdefault(name, []).append((when_ns, made, settled))
    found = []
    for name in sorted(tally):
        every, told, noticed = tally[name], beside["answer"].get(name, {}), beside["notice"].get(name, {})
        own = {state: every[state] - told.get(state, 0) - noticed.get(state, 0) for state in every}
        states = {state.value: own.get(state, 0) for state in OPEN_STATES}
        recent_ns, made, settled = _recent(samples.get(name, []), every, at_ns)
        found.append(
            TargetFigures(
                target=name,
                states=states,
                waiting=sum(states.values()) - states["parked"],
                posted=own.get("posted", 0),
                delivered=own.get("delivered", 0),
                answers={state.value: told[state] for state in OPEN_STATES if told.get(state)},
                answers_posted=told.get("posted", 0),
                notices={state.value: noticed[state] for state in OPEN_STATES if noticed.get(state)},
                notices_posted=noticed.get("posted", 0),
                notices_left_out=left_out.get(name, 0),
                oldest_ns=oldest.get(name),
                recent_ns=recent_ns,
                made=made,
                settled=settled,
            )
        )
    return tuple(found)


def totals_of(tally: Mapping[str, int]) -> tuple[int, int]:
    """How many postings were ever made, and how many of them are over, by the tally of a target."""
    return sum(tally.values()), sum(tally.get(state, 0) for state in OVER)


def _recent(samples: list[tuple[int, int, int]], tally: Mapping[str, int], at_ns: int) -> tuple[int, int, int]:
    """Since the newest sample that is old enough, or the oldest one where none is: how long, made, settled."""
    past = [one for one in sorted(samples) if one[0] < at_ns]
    if not past:
        return 0, 0, 0
    old = [one for one in past if at_ns - one[0] >= RECENT_NS]
    when_ns, made_then, settled_then = old[-1] if old else past[0]
    made, settled = totals_of(tally)
    return at_ns - when_ns, made - made_then, settled - settled_then


def _doubts(units: Iterable[Sequence[Any]]) -> tuple[int, int, int, int]:
    """Unknown intervals, their pieces, those without a bound, and pieces under review, over all machines."""
    intervals = pieces = unbounded = review = 0
    for _, text, _, _ in units:
        reviewed, unknown, older = _doubts_in(text)
        older_intervals, older_pieces = older or (0, 0)
        bounds = [one.get("max_pieces") for one in unknown or ()]
        intervals += len(bounds) + older_intervals
        pieces += sum(bound for bound in bounds if bound is not None) + older_pieces
        unbounded += bounds.count(None)
        review += reviewed or 0
    return intervals, pieces, unbounded, review


def _doubts_in(text: str) -> tuple[int, list[dict[str, Any]], Sequence[int]]:
    """What a snapshot says of them; SQLite takes no NaN in JSON, then the whole snapshot is here."""
    try:
        found = json.loads(text)
    except ValueError:  # no gateway wrote this
        return 0, [], (0, 0)
    if isinstance(found, dict):
        found = [found.get(name) for name in ("review", "unknown", "unknown_older")]
    if not isinstance(found, list):
        return 0, [], (0, 0)
    return found[0], found[1], found[2]


def _room(numbers: Mapping[str, int], sizes: Iterable[Sequence[Any]], at_ns: int, beside: Beside) -> RoomFigures:
    samples = sorted((when_ns, used, most) for _, when_ns, used, most in sizes)
    file_bytes, free_bytes = numbers["pages"] * numbers["page"], numbers["free"] * numbers["page"]
    used = file_bytes - free_bytes
    max_bytes = (samples[-1][2] if samples else 0) if beside.max_bytes is None else beside.max_bytes
    growable = max(max_bytes - file_bytes, 0)
    room = free_bytes + (growable if beside.disk_free_bytes is None else min(growable, beside.disk_free_bytes))
    hour = _grown(samples, used, at_ns, HOUR_NS)
    day = _grown(samples, used, at_ns, DAY_NS)
    hourly_ns = _until_full(room, hour, HOUR_NS)
    daily_ns = _until_full(room, day, DAY_NS)
    level, reason = OK, ""
    if max_bytes:
        level, reason = _judged(room, used, hourly_ns, daily_ns)
    return RoomFigures(
        used_bytes=used,
        max_bytes=max_bytes,
        room_bytes=room,
        disk_free_bytes=beside.disk_free_bytes,
        grown_hour_bytes=hour,
        grown_day_bytes=day,
        full_in_ns=min((one for one in (hourly_ns, daily_ns) if one is not None), default=None),
        level=level,
        reason=reason,
    )


def _judged(room: int, used: int, hourly_ns: int | None, daily_ns: int | None) -> tuple[str, str]:
    whole = room + used
    left = f"{room * 100 // whole} % of its room is left"
    if room * 100 < FATAL_PERCENT * whole:
        return FATAL, left
    if room * 100 < WARNING_PERCENT * whole:
        return WARNING, left
    if hourly_ns is not None and hourly_ns < HOURLY_WARNING_NS:
        return WARNING, f"full in {hourly_ns // HOUR_NS} h, as it grew in the last hour"
    if daily_ns is not None and daily_ns < DAILY_WARNING_NS:
        return WARNING, f"full in {daily_ns // DAY_NS} d, as it grew in the last day"
    return OK, ""


def _grown(samples: list[tuple[int, int, int]], used: int, at_ns: int, stretch_ns: int) -> int | None:
    """By how much since the newest sample of that age, brought to that stretch; None without such a sample."""
    old = [one for one in samples if at_ns - one[0] >= stretch_ns]
    if not old:
        return None
    when_ns, then, _ = old[-1]
    return (used - then) * stretch_ns // (at_ns - when_ns)


def _until_full(room: int, grown: int | None, stretch_ns: int) -> int | None:
    return None if grown is None or grown <= 0 else room * stretch_ns // grown
