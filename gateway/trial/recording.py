"""A recording as a file of JSON lines: where a machine stood, and every input since, exactly as it reached the core.

The first line says what it is, the last one how it ended; each line between is one input. Integers and times are exact.
Opens no file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TextIO

from gateway.core.entries import (
    AllocateEntry,
    ExternalEntry,
    LotEntry,
    MaterialEntry,
    MergeEntry,
    ReclassifyEntry,
    ReportEntry,
    SetupEntry,
    SplitEntry,
    StopCutEntry,
    StopReasonEntry,
    UndoEntry,
    UnmergeEntry,
)
from gateway.core.job_order import LastNumber
from gateway.core.model import (
    CalendarPlan,
    ClockTold,
    CountersRead,
    DataValue,
    JobOrderState,
    JobRecord,
    MachineState,
    OperatorEntry,
    OperatorVerb,
    OrderProgress,
    OrderReceived,
    PlannedTime,
    Role,
    Status,
)
from gateway.core.orders.lifecycle import ActorRole
from gateway.core.orders.order_image import decode as decode_image
from gateway.core.orders.order_image import encode as encode_image
from gateway.core.orders.shares import LeadTold, MemberTold, ended_from, row_from
from gateway.core.snapshot import decode_job, encode_job
from gateway.trial import told_rows, told_work
from gateway.trial.machine import time_of
from gateway.trial.nobody import WHO, Persons

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from gateway.core.entries import PersonsEntry
    from gateway.core.model import Input, JobOrder

VERSION: Final = 1
MAGIC: Final = "recording"
INPUTS_MAX: Final = 5_000_000
LINE_CHARS_MAX: Final = 16 * 1024 * 1024  # the first line holds a whole state
TIME_MAX_NS: Final = 9_000_000_000 * 1_000_000_000  # in the year 2255; behind it there is no calendar
SHOWN_CHARS: Final = 60

_VALUE, _ORDER, _PROGRESS, _DECISION, _CLOCK, _PLAN, _END = "v", "o", "n", "d", "c", "p", "end"
_BY = "by"
_SETUP, _REASON, _JUDGED, _CUT, _UNDO = "s", "w", "j", "x", "u"
_MEMBER, _LEAD, _READ = "m", "l", "r"


class RecordingError(Exception):
    """The file is no recording, or a damaged one; says where and what to do."""


class Header(NamedTuple):
    """What was recorded. ``state`` is the encoded state of a machine at the beginning, None for a source.

    Times are steady; UTC is ``utc_offset_ns`` more, as it was known at the beginning. ``skills`` of the persons whom
    the configuration lists, None where nobody told; they are not named.
    """

    kind: Literal["machine", "source"]
    name: str
    gateway: str
    digest: str
    started_ns: int
    state: dict[str, Any] | None
    utc_offset_ns: int = 0
    skills: dict[str, list[str]] | None = None


class Recording(NamedTuple):
    """A whole recording. ``ended`` says why it ended, ``ended_ns`` when."""

    header: Header
    inputs: tuple[Input, ...]
    ended_ns: int
    ended: str

    @property
    def utc_offset_ns(self) -> int:
        """UTC minus the times of the recording, as it was known at its end."""
        told = (given.utc_offset_ns for given in reversed(self.inputs) if isinstance(given, ClockTold))
        return next(told, self.header.utc_offset_ns)


def header_line(header: Header) -> str:
    """The first line."""
    return _line({"linegate": MAGIC, "v": VERSION, **header._asdict()})


def end_line(at_ns: int, why: str) -> str:
    """The last line."""
    return _line([_END, at_ns, why])


def row(given: Input, persons: Persons | None = None) -> list[Any] | None:
    """One input as JSON data; None for what needs no record. Persons are not named, but told apart by ``persons``."""
    told, who = _row(given, persons), str(getattr(given, "who", ""))
    # Who takes back what: an undo is only one's own.
    return told if told is None or persons is None or who in ("", WHO) else [_BY, persons.named(who), told]


def _row(given: Input, persons: Persons | None) -> list[Any] | None:
    match given:
        case DataValue(signal, value, status, source_ns, received_ns):
            return [_VALUE, received_ns, signal, value, int(status), source_ns]
        case OrderReceived(at_ns, job, known, others):
            plain = [_ORDER, at_ns, _whole(job), _plain_record(known), [_plain_record(one) for one in others]]
            return plain if given.forgotten is None else [*plain, list(given.forgotten)]
        case OperatorEntry(at_ns, verb, order, operation):
            plain = [_DECISION, at_ns, verb.value, order, operation]
            more = [given.reason, given.role, _plain_record(given.known), given.interrupt, list(given.documents)]
            more += told_work.later_row(given, persons or Persons())
            return plain if more == ["", None, None, False, []] else plain + more
        case SetupEntry() | StopReasonEntry() | StopCutEntry() | ReclassifyEntry() | UndoEntry():
            return _said(given, persons or Persons())
        case _ if isinstance(given, told_work.WorkEntry):
            kind, fields, *ledger = told_work.row_of(given, persons or Persons())
            return [kind, fields, _plain_record(getattr(given, "known", None)), *ledger]
        case (
            AllocateEntry()
            | SplitEntry()
            | MergeEntry()
            | UnmergeEntry()
            | ReportEntry()
            | ExternalEntry()
            | LotEntry()
            | MaterialEntry()
        ):
            return [*told_rows.row_of(given), _plain_record(getattr(given, "known", None))]
        case ClockTold() | CountersRead() | OrderProgress() | MemberTold() | LeadTold() | CalendarPlan():
            return _news(given)
        case _:
            return None  # time passes by itself


def _said(
    given: SetupEntry | StopReasonEntry | StopCutEntry | ReclassifyEntry | UndoEntry, persons: Persons
) -> list[Any]:
    match given:
        case SetupEntry(at_ns, begins):
            return [_SETUP, at_ns, begins]
        case StopReasonEntry(at_ns, from_ns, to_ns, reason):
            return [_REASON, at_ns, from_ns, to_ns, reason]
        case StopCutEntry(at_ns, split_ns, merge):
            return [_CUT, at_ns, split_ns, merge]
        case UndoEntry(at_ns):
            contents = [told_work.content_row(one, persons) for one in given.contents]
            return [_UNDO, at_ns, contents] if contents else [_UNDO, at_ns]
        case ReclassifyEntry(at_ns, order, operation, pieces, before, after, reason):
            told = [_JUDGED, at_ns, order, operation, pieces, before.value, after.value, reason]
            ledger = told_work.ledger_row(given.ledger, persons)
            more = [bool(given.signed_by), _plain_record(given.known), *ledger]
            return told if more == [False, None] else told + more


def _heard(data: list[Any]) -> PersonsEntry:
    if data[0] == _SETUP:
        _, at_ns, begins = data
        return SetupEntry(at_ns, begins, WHO)
    if data[0] == _REASON:
        _, at_ns, from_ns, to_ns, reason = data
        return StopReasonEntry(at_ns, from_ns, to_ns, reason, WHO)
    if data[0] == _CUT:
        _, at_ns, split_ns, merge = data
        return StopCutEntry(at_ns, split_ns, merge, WHO)
    if data[0] == _UNDO:
        _, at_ns, *contents = data
        found = tuple(told_work.content_from(one) for one in contents[0]) if contents else ()
        return UndoEntry(at_ns, WHO, contents=found)
    _, at_ns, order, operation, pieces, before, after, reason, *more = data
    judged = ReclassifyEntry(at_ns, order, operation, pieces, Role(before), Role(after), reason, WHO)
    if not more:
        return judged
    signed, known, *ledger = more
    record = None if known is None else _record(known)
    return judged._replace(signed_by=WHO if signed else "", known=record, ledger=told_work.ledger_of(ledger))


def line(data: list[Any]) -> str:
    """A row as a line."""
    return _line(data)


def lines_of(file: TextIO) -> Iterator[str]:
    """The lines of an open file; one that is too long comes in pieces, which are no lines of a recording."""
    return iter(lambda: file.readline(LINE_CHARS_MAX), "")


def parsed(lines: Iterable[str], name: str) -> Recording:
    """The recording of a file's lines. ``name`` is the file's, for messages. Raises RecordingError."""
    header: Header | None = None
    inputs: list[Input] = []
    ended_ns, ended = 0, ""
    for number, text in enumerate(lines, 1):
        where = f"{name}:{number}"
        if ended:
            raise RecordingError(f"{where}: found a line behind the end; record it again")
        if header is not None and not text.endswith("\n"):
            break  # cut off in the middle of a line
        try:
            data = json.loads(text)
            if header is None:
                header = _header(data, where)
            elif data[0] == _END:
                ended_ns, ended = _time(data[1]), str(data[2])
            else:
                inputs.append(_said_by(data) if data[0] == _BY else _input(data))
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise RecordingError(
                f"{where}: found {text[:SHOWN_CHARS].rstrip()!a}, which is no line of a recording ({_why(error)}); "
                "allowed: a file that linegate record wrote, unchanged"
            ) from error
        if len(inputs) > INPUTS_MAX:
            raise RecordingError(
                f"{name}:{number}: more than the allowed {INPUTS_MAX} inputs; record for a shorter time"
            )
    if header is None:
        raise RecordingError(f"{name}: is empty; allowed: a file that linegate record wrote")
    if not ended:  # what came until then is whole
        ended_ns = max((time_of(given) for given in inputs), default=header.started_ns)
        ended = "the file has no end: the recording was cut off"
    return Recording(header, tuple(inputs), ended_ns, ended)


def _line(data: Any) -> str:
    # The standard library's JSON has no largest integer, and writes a number so that it is read back exactly.
    return json.dumps(data, separators=(",", ":")) + "\n"


def _why(error: BaseException) -> str:
    if isinstance(error, json.JSONDecodeError | RecursionError):
        return "it is no JSON"
    if isinstance(error, KeyError):
        return f"{error.args[0]} is missing"
    return str(error) or type(error).__name__


def _header(data: Any, where: str) -> Header:
    if not isinstance(data, dict) or data.get("linegate") != MAGIC:
        raise ValueError("the first line says that it is one")
    if data["v"] != VERSION:
        raise RecordingError(
            f"{where}: found a recording of version {data['v']}, allowed {VERSION}; replay it with the linegate that "
            "wrote it, or record anew"
        )
    if data["kind"] not in {"machine", "source"}:
        raise ValueError(f"kind {data['kind']!r}")
    if not isinstance(data["name"], str) or not isinstance(data["state"], dict | None):
        raise ValueError("name or state is of another kind")  # noqa: TRY004 - as for every other wrong value
    known = {field: data[field] for field in Header._fields if field not in Header._field_defaults}
    offset_ns = int(data.get("utc_offset_ns", 0))
    skills = data.get("skills")
    if not isinstance(skills, dict | None):
        raise ValueError("skills are of another kind")  # noqa: TRY004 - as for every other wrong value
    return Header(**{**known, "started_ns": _time(data["started_ns"])}, utc_offset_ns=offset_ns, skills=skills)


def _time(found: Any) -> int:
    if type(found) is not int or not 0 <= found <= TIME_MAX_NS:
        raise ValueError(f"time {found!r}, a whole number of nanoseconds is meant")
    return found


def _said_by(data: list[Any]) -> Input:
    """The word of a certain person, who is no name."""
    _, who, told = data
    said: Any = _input(told)
    signed = {"signed_by": str(who)} if getattr(said, "signed_by", "") else {}
    by: Input = said._replace(who=str(who), **signed)
    return by


def _input(data: list[Any]) -> Input:
    kind = data[0]
    if kind == _VALUE:
        _, received_ns, signal, value, status, source_ns = data
        if not isinstance(signal, str) or not isinstance(value, int | float | str | None):
            raise ValueError("the signal or its value is of another kind")
        return DataValue(
            signal, value, Status(status), None if source_ns is None else int(source_ns), _time(received_ns)
        )
    if kind == _ORDER:
        _, at_ns, job, known, *others = data
        records = tuple(_record(one) for one in (others[0] if others else ()))
        left = LastNumber(*others[1]) if len(others) > 1 else None
        return OrderReceived(_time(at_ns), _job(job), None if known is None else _record(known), records, left)
    if kind == _DECISION:
        return _decision(data)
    if kind in (_SETUP, _REASON, _JUDGED, _CUT, _UNDO):
        return _heard(data)
    if kind in (_PROGRESS, _MEMBER, _LEAD, _CLOCK, _READ):
        return _news_of(data)
    if kind in told_rows.KINDS:
        _time(data[1]["at_ns"])
        return told_rows.entry_of(data, None if data[2] is None else _record(data[2]))
    if kind in told_work.KINDS:
        _time(data[1]["at_ns"])
        known = None if data[2] is None else _record(data[2])
        return told_work.entry_of([*data[:2], *data[3:]], known)
    if kind == _PLAN:
        _, at_ns, entries = data
        return CalendarPlan(_time(at_ns), tuple(_planned(*one) for one in entries))
    raise ValueError(f"kind {kind!r}")


def _decision(data: list[Any]) -> OperatorEntry:
    _, at_ns, verb, order, operation, *more = data
    reason, role, known, *how = more or ("", None, None)
    interrupts, documents, *later = how or (False, ())  # what older recordings do not tell
    entry = OperatorEntry(_time(at_ns), OperatorVerb(verb), order, operation, WHO, str(reason))
    entry = entry._replace(interrupt=bool(interrupts), documents=tuple(map(str, documents)))
    record = None if known is None else _record(known)
    return told_work.with_later(entry._replace(role=None if role is None else ActorRole(role), known=record), later)


def _news_of(data: list[Any]) -> ClockTold | CountersRead | OrderProgress | MemberTold | LeadTold:
    kind, at_ns, *told = data
    if kind == _CLOCK:
        return ClockTold(_time(at_ns), *told)
    if kind == _READ:
        until_ns, missing, *due = told  # older recordings know no change that comes by itself
        return CountersRead(_time(at_ns), _time(until_ns), tuple(map(str, missing)), *map(_time, due))
    if kind == _PROGRESS:
        return OrderProgress(_time(at_ns), tuple(_record(one) for one in told[0]))
    if kind == _MEMBER:
        machine, said_ns, rows, *read = told  # older recordings know no reading for another lot
        return MemberTold(_time(at_ns), str(machine), _time(said_ns), tuple(map(row_from, rows)), *map(_time, read))
    job, waits, rows, *over = told  # older recordings do not know since when
    since_ns, ended, *full = over or (0, ())
    ran = tuple(ended_from(one) for one in ended)
    job = None if job is None else _job(job)
    return LeadTold(_time(at_ns), job, bool(waits), tuple(map(row_from, rows)), _time(since_ns), ran, *map(bool, full))


def _news(given: ClockTold | CountersRead | OrderProgress | MemberTold | LeadTold | CalendarPlan) -> list[Any]:
    if isinstance(given, CalendarPlan):
        hours = given.entries
        planned = [[one.from_ns, None if one.planned is None else one.planned.value, one.shift] for one in hours]
        return [_PLAN, given.at_ns, planned]
    if isinstance(given, MemberTold):
        return [_MEMBER, *given]
    if isinstance(given, LeadTold):
        return [_LEAD, given.at_ns, None if given.job is None else _whole(given.job), *given[2:]]
    if isinstance(given, ClockTold):
        return [_CLOCK, given.at_ns, given.utc_offset_ns, given.known]
    if isinstance(given, CountersRead):
        return [_READ, given.at_ns, given.until_ns, list(given.missing), *filter(None, (given.due_ns,))]
    return [_PROGRESS, given.at_ns, [_plain_record(one) for one in given.records]]


def _planned(from_ns: int, planned: str | None, shift: str) -> PlannedTime:
    return PlannedTime(from_ns, None if planned is None else MachineState(planned), shift)


def _record(data: dict[str, Any]) -> JobRecord:
    held_from = data.get("held_from")
    states = {
        "state": JobOrderState(data["state"]),
        "held_from": None if held_from is None else JobOrderState(held_from),
    }
    good, scrap, rework = data.get("external", (0, 0, 0))
    return JobRecord(**{**data, **states, "job": _job(data["job"]), "external": (good, scrap, rework)})


def _plain_record(record: JobRecord | None) -> dict[str, Any] | None:
    return None if record is None else {**record._asdict(), "job": _whole(record.job)}


def _whole(job: JobOrder) -> dict[str, Any]:
    """A job order with its image: a recording is read where no database is."""
    return encode_job(job) | ({} if job.image is None else {"image": encode_image(job.image)})


def _job(data: dict[str, Any]) -> JobOrder:
    image = data.get("image")
    job = decode_job({name: value for name, value in data.items() if name != "image"})
    return job if image is None else job._replace(image=decode_image(image))
