"""What happened in a trial, one line each, for a person. Decides nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from gateway.core.duration import NS_PER_S
from gateway.core.entries import LotEntry, PresenceEntry, SerialEntry
from gateway.core.model import (
    CalendarPlan,
    Confirmation,
    CountEvent,
    DataValue,
    JobChanged,
    Notice,
    OperatorEntry,
    OrderReceived,
    PiecesProduced,
    StateChanged,
    Status,
    UnknownInterval,
)
from gateway.core.state.interval import StateInterval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.core.work.run_work import ConfirmedWork
    from gateway.trial.machine import Happening

#: Lines before and behind the moment of a difference.
LINES_BEFORE: Final = 8
LINES_BEHIND: Final = 3
VALUE_CHARS_MAX: Final = 60
_NS_PER_MS: Final = 1_000_000


def around(happened: Sequence[Happening], at_ns: int, start_ns: int) -> list[str]:
    """The lines around a moment, with their times since the start; what says nothing new is left out."""
    lines = [(one.at_ns, text) for one, text in zip(happened, _texts(happened), strict=True) if text]
    before = [line for line in lines if line[0] <= at_ns][-LINES_BEFORE:]
    behind = [line for line in lines if line[0] > at_ns][:LINES_BEHIND]
    here = [f"{moment(at_ns - start_ns):>12}  <<< here"]
    return [
        *(f"{moment(when - start_ns):>12}  {text}" for when, text in before),
        *here,
        *(f"{moment(when - start_ns):>12}  {text}" for when, text in behind),
    ]


def moment(after_ns: int) -> str:
    """A time since the start: ``75.250 s``."""
    milliseconds = after_ns // _NS_PER_MS
    return f"{milliseconds // 1000}.{milliseconds % 1000:03d} s"


def length(duration_ns: int) -> str:
    """A length for a table: hours, minutes and seconds."""
    whole, part = divmod(duration_ns, NS_PER_S)
    hours, rest = divmod(whole, 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}.{part // _NS_PER_MS:03d}"


def told(what: object) -> str:
    """One input or output."""
    match what:
        case DataValue(signal=signal, value=value, status=status):
            return f"{signal} = {_shown(value, status)}"
        case OrderReceived(job=job):
            return f"order {job.order}/{job.operation} arrives, {job.quantity} pieces"
        case OperatorEntry(verb=verb, order=order, operation=operation):
            return f"{verb.value} {order}{'/' * bool(operation)}{operation}, by a person"
        case CountEvent() | PiecesProduced() | UnknownInterval():
            return _counted(what)
    return _followed(what)


def _counted(what: CountEvent | PiecesProduced | UnknownInterval) -> str:
    match what:
        case CountEvent():
            review = f", {what.review} to review" if what.review else ""
            lost = f", at most {what.max_lost} lost" if what.max_lost > 0 else ""
            return f"{what.signal}: {what.delta} counts, {what.flag}{review}{lost}"
        case PiecesProduced(role=role, pieces=pieces, order=order, operation=operation):
            return f"{pieces} {role.value} for {'no order' if order is None else f'order {order}/{operation}'}"
        case UnknownInterval(signal=signal, max_pieces=most, flag=flag):
            return f"{signal}: {'any number of' if most is None else f'at most {most}'} pieces unknown, {flag}"


def _followed(what: object) -> str:
    match what:
        case StateInterval(state=state, from_ns=from_ns, to_ns=to_ns):
            return f"{state.value} for {length(to_ns - from_ns)}, final"
        case StateChanged(state=state, previous=previous, reason=reason):
            return f"state {previous.value} -> {state.value} ({reason})"
        case JobChanged(record=record, trigger=trigger):
            return f"order {record.job.order}/{record.job.operation} {record.state.value} ({trigger})"
        case Notice(code=code, detail=detail):
            return f"notice {code} {', '.join(f'{name}={text}' for name, text in detail)}".rstrip()
        case Confirmation(job=job, kind=kind, trigger=trigger):
            made = f"{what.good} good, {what.scrap} scrap, {what.rework} rework"
            said = f"{kind.value} confirmation {job.order}/{job.operation} #{what.seq}: {made} ({trigger})"
            return said if what.work is None else f"{said}; {_worked(what.work)}"
        case CalendarPlan():
            return "the hours ahead are told"
        case _:
            return _at_work(what)


def _at_work(what: object) -> str:
    match what:
        case PresenceEntry(begins=begins, person=person):
            return f"{person} logs {'in' if begins else 'out'}"
        case LotEntry(mounts=mounts, feeder=feeder, lot=lot):
            return f"lot {lot} is {'mounted at' if mounts else 'taken off'} {feeder}"
        case SerialEntry(serial=serial):
            return f"serial number {serial}"
        case _:
            return repr(what)


def _worked(work: ConfirmedWork) -> str:
    """Times, material with its lots, and people of a confirmation."""
    times = [f"{name.replace('_', ' ')} {minutes} min" for name, minutes in work.minutes._asdict().items() if minutes]
    used = []
    for one in work.lines:
        lots = ", ".join(f"{lot}: {quantity}" for lot, quantity in one.lots)
        used.append(f"{one.line.quantity} {one.line.uom} {one.line.item} ({one.line.kind}{lots and ', ' + lots})")
    serials = [f"{len(work.serials)} serial numbers"] if work.serials else []
    return ", ".join([*times, *used, *serials, *work.operators]) or "no time"


def _texts(happened: Sequence[Happening]) -> list[str]:
    shown: dict[str, str] = {}
    texts = []
    for one in happened:
        text = told(one.what)
        if isinstance(one.what, DataValue):
            if shown.get(one.what.signal) == text:
                text = ""
            else:
                shown[one.what.signal] = text
        texts.append(text)
    return texts


def _shown(value: object, status: Status) -> str:
    if status is Status.BAD:
        return "bad"
    text = repr(value)
    return text[:VALUE_CHARS_MAX] + (" (uncertain)" if status is Status.UNCERTAIN else "")
