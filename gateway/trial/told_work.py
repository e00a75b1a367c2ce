"""What people tell of who is at work, of lots, serial numbers, holds and corrections: rows of a recording, and back.

Persons are not named (``nobody.py``). Opens no file.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.core.confirming.booked import Confirmed, Content
from gateway.core.confirming.corrections import Capability, EntryKind, Origin
from gateway.core.confirming.hold_back import Delivery
from gateway.core.confirming.quantities import Pieces
from gateway.core.entries import (
    CorrectEntry,
    LotNameEntry,
    PresenceEntry,
    PresenceShared,
    RejectEntry,
    SerialEntry,
    StandingHoldEntry,
)
from gateway.core.orders.standing_holds import HoldScope
from gateway.core.work.backflush import LineKind, MaterialLine, Posting
from gateway.core.work.produced_lots import SerialRecord
from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork, HeldMaterial, MadeLot
from gateway.core.work.time_account import ActivityMinutes
from gateway.trial.nobody import WHO
from gateway.trial.plain_rows import decimal_read, plain

if TYPE_CHECKING:
    from gateway.core.model import JobRecord, OperatorEntry
    from gateway.trial.nobody import Persons

WorkEntry = PresenceEntry | PresenceShared | LotNameEntry | SerialEntry | CorrectEntry | RejectEntry | StandingHoldEntry

_KINDS: Final[dict[str, type[WorkEntry]]] = {
    "presence": PresenceEntry,
    "share": PresenceShared,
    "lot_name": LotNameEntry,
    "serial": SerialEntry,
    "correct": CorrectEntry,
    "reject": RejectEntry,
    "standing": StandingHoldEntry,
}
KINDS: Final = frozenset(_KINDS)
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}
#: Of the person, and what has its own form.
_APART: Final = frozenset({"who", "role", "auth", "client", "person", "signed_by", "known", "ledger"})


def row_of(given: WorkEntry, persons: Persons) -> list[Any]:
    """The entry without its person; ``known`` of a correction is the caller's."""
    fields = {name: plain(value) for name, value in given._asdict().items() if name not in _APART}
    if isinstance(given, PresenceEntry | PresenceShared):
        fields["person"] = persons.named(given.person)
    elif isinstance(given, SerialEntry):
        fields["read"] = not given.who
    elif isinstance(given, CorrectEntry | StandingHoldEntry):
        fields["signed"] = bool(given.signed_by)
    return [_NAMES[type(given)], fields, *ledger_row(getattr(given, "ledger", None), persons)]


def entry_of(data: list[Any], known: JobRecord | None) -> WorkEntry:
    """The entry of a row. Raises KeyError, TypeError or ValueError for anything else."""
    kind = _KINDS[data[0]]
    fields: dict[str, Any] = dict(data[1])
    if kind is PresenceShared:
        return PresenceShared(**fields)
    if kind is SerialEntry:
        fields["who"] = "" if fields.pop("read") else WHO
        fields["earlier"] = tuple(SerialRecord(*one) for one in fields["earlier"])
        return SerialEntry(**fields)
    if kind is LotNameEntry:
        fields["told"] = tuple((run, item) for run, item in fields["told"])
        return LotNameEntry(**fields, who=WHO)
    if kind is PresenceEntry:
        return PresenceEntry(**fields, who=WHO)
    if kind is StandingHoldEntry:
        fields["scope"] = HoldScope(fields["scope"])
        fields["signed_by"] = WHO if fields.pop("signed") else ""
        return StandingHoldEntry(**fields, who=WHO)
    ledger = ledger_of(data[2:])
    if kind is RejectEntry:
        return RejectEntry(**fields, who=WHO, known=known, ledger=ledger)
    fields["signed_by"] = WHO if fields.pop("signed") else ""
    fields["pieces"] = None if fields["pieces"] is None else tuple(fields["pieces"])
    return CorrectEntry(**fields, who=WHO, known=known, ledger=ledger)


def later_row(given: OperatorEntry, persons: Persons) -> list[Any]:
    """What decisions could not say in the first recordings, as the end of a row; nothing where it says none of it."""
    ledger = ledger_row(given.ledger, persons)
    return [given.verdict, bool(given.signed_by), *ledger] if given.verdict or given.signed_by or ledger else []


def with_later(entry: OperatorEntry, data: list[Any]) -> OperatorEntry:
    """The other way. Raises KeyError, TypeError or ValueError."""
    if not data:
        return entry
    verdict, signed, *ledger = data
    return entry._replace(verdict=str(verdict), signed_by=WHO if signed else "", ledger=ledger_of(ledger))


def ledger_row(ledger: Confirmed | None, persons: Persons) -> list[Any]:
    """What was confirmed of an operation, as the end of a row; nothing without any."""
    if ledger is None:
        return []
    return [ledger.capability.value, [content_row(one, persons) for one in ledger.contents]]


def ledger_of(data: list[Any]) -> Confirmed | None:
    """The other way. Raises KeyError, TypeError or ValueError."""
    if not data:
        return None
    capability, contents = data
    return Confirmed(tuple(content_from(one) for one in contents), Capability(capability))


def content_row(content: Content, persons: Persons) -> dict[str, Any]:
    """What a confirmation said."""
    work = content.work
    fields: dict[str, Any] = plain(content._replace(work=None)._asdict())
    if work is not None:
        lines = [[*one.line, one.lots] for one in work.lines]
        lots = [[one.lot, one.pieces] for one in work.lots]
        said = [work.minutes, work.states, lines, lots, work.serials, persons.all_named(work.operators)]
        said += [work.held] if work.held else []
        fields["work"] = [plain(one) for one in said]
    return fields


def content_from(data: dict[str, Any]) -> Content:
    """The other way. Raises KeyError, TypeError or ValueError."""
    read = {
        "kind": EntryKind(data["kind"]),
        "pieces": Pieces(*data["pieces"]),
        "delivery": Delivery(data["delivery"]),
        "origin": Origin(data["origin"]),
        "scrap_reasons": tuple((reason, pieces) for reason, pieces in data["scrap_reasons"]),
        "flags": tuple(data["flags"]),
        "work": None if data["work"] is None else _work(data["work"]),
    }
    return Content(**{**data, **read})


def _work(data: list[Any]) -> ConfirmedWork:
    minutes, states, lines, lots, serials, operators, *held = data
    return ConfirmedWork(
        ActivityMinutes(*map(decimal_read, minutes)),
        tuple((state, text) for state, text in states),
        tuple(_line(*one) for one in lines),
        tuple(MadeLot(lot, pieces) for lot, pieces in lots),
        tuple(serials),
        tuple(operators),
        held=tuple(
            HeldMaterial(item, uom, tuple((lot, text) for lot, text in of)) for row in held for item, uom, of in row
        ),
    )


def _line(item: str, uom: str, quantity: str, kind: str, posting: str, *more: Any) -> ConfirmedLines:
    separate, lot_required, lots = more
    line = MaterialLine(item, uom, decimal_read(quantity), LineKind(kind), Posting(posting), separate, lot_required)
    return ConfirmedLines(line, tuple((lot, text) for lot, text in lots))
