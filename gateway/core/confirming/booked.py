"""What an operation's confirmations said, read back from their documents, and how far each got: what corrections need.

A confirmation is never edited, so whatever takes it back or replaces it says what its document said. Reads documents
and builds the ledger of ``corrections.py``; finds no posting and decides nothing.
"""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.core.confirming.corrections import Capability, Entry, EntryKind, Ledger, Origin
from gateway.core.confirming.quantities import NOTHING, Pieces
from gateway.core.work.backflush import LineKind, MaterialLine, Posting
from gateway.core.work.run_work import ConfirmedLines, ConfirmedWork, HeldMaterial, MadeLot
from gateway.core.work.time_account import ActivityMinutes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.core.confirming.hold_back import Delivery

#: Confirmations of one operation that are looked at: the newest ones.
CONTENTS_MAX: Final = 5000

_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_NS_PER_US: Final = 1000


class Content(NamedTuple):
    """One confirmation as its document says it. Times in nanoseconds UTC, to the millisecond."""

    key: str
    seq: int
    kind: EntryKind
    pieces: Pieces
    delivery: Delivery
    reverses: str = ""
    origin: Origin = Origin.AUTO
    from_utc_ns: int = 0
    to_utc_ns: int = 0
    event_utc_ns: int | None = None
    scrap_reasons: tuple[tuple[str, int], ...] = ()
    cycles: int = 0
    estimated: int = 0
    flags: tuple[str, ...] = ()
    shift: str = ""
    posting_date: str = ""
    event_day: str = ""
    over_target: bool = False
    clear_reservations: bool = False
    work: ConfirmedWork | None = None
    digest: str = ""
    tool: str = ""

    @property
    def entry(self) -> Entry:
        """As the ledger knows it."""
        return Entry(self.key, self.kind, self.pieces, self.delivery, self.reverses, self.origin)


class Confirmed(NamedTuple):
    """All confirmations of an operation, the lowest number first, and how its ERP takes a correction."""

    contents: tuple[Content, ...] = ()
    capability: Capability = Capability.MANUAL

    def ledger(self, still_open: Pieces = NOTHING) -> Ledger:
        """For ``corrections.py``."""
        return Ledger(tuple(one.entry for one in self.contents), still_open)

    def numbered(self, seq: int) -> Content | None:
        """The one with this number, None if there is none."""
        return next((one for one in self.contents if one.seq == seq), None)

    def keyed(self, key: str) -> Content | None:
        """The one with this key, None if there is none."""
        return next((one for one in self.contents if one.key == key), None)


def content_of(document: Mapping[str, Any], delivery: Delivery) -> Content:
    """What a confirmation document says. Raises KeyError, TypeError or ValueError where it is none."""
    quantities, period = document["qty"], document["period"]
    scrap = [(one["reason"], int(one["qty"])) for one in quantities["scrap"]]
    roles = (int(quantities[name]) for name in ("rework", "hold", "test"))
    day, shift, last = document["production_day"], document["shift"], document["event_time_last"]
    return Content(
        key=document["idempotency_key"],
        seq=document["seq"],
        kind=EntryKind(document["type"]),
        pieces=Pieces(int(quantities["good"]), sum(pieces for _, pieces in scrap), *roles),
        delivery=delivery,
        reverses=document.get("reverses") or "",
        origin=Origin(document["origin"]),
        from_utc_ns=_ns(period["from"]),
        to_utc_ns=_ns(period["to"]),
        event_utc_ns=None if last is None else _ns(last),
        scrap_reasons=tuple((reason, pieces) for reason, pieces in scrap if reason),
        cycles=document["cycles"],
        estimated=int(document["estimated"]["pieces"]),
        flags=tuple(document["data_quality_flags"]),
        shift=f"{day}/{shift}" if day else "",
        posting_date=document.get("posting_date") or "",
        event_day=document.get("event_day") or "",
        over_target=bool(document.get("over_target")),
        clear_reservations=bool(document.get("clear_reservations")),
        work=_work(document),
        digest=document["hash"],
        tool=document.get("tool") or "",
    )


def negated(work: ConfirmedWork | None) -> ConfirmedWork | None:
    """What takes this back: minutes and quantities with the other sign."""
    if work is None:
        return None
    return work._replace(
        minutes=ActivityMinutes(*(0 - number for number in work.minutes)),
        states=tuple((name, str(0 - Decimal(minutes))) for name, minutes in work.states),
        lines=tuple(
            ConfirmedLines(
                one.line._replace(quantity=0 - one.line.quantity),
                tuple((lot, str(0 - Decimal(quantity))) for lot, quantity in one.lots),
            )
            for one in work.lines
        ),
        lots=tuple(one._replace(pieces=-one.pieces) for one in work.lots),
        held=tuple(
            one._replace(lots=tuple((lot, str(0 - Decimal(quantity))) for lot, quantity in one.lots))
            for one in work.held
        ),
    )


def _work(document: Mapping[str, Any]) -> ConfirmedWork | None:
    """Times, material, lots and people; None where nobody told."""
    times = document["times"]
    if times["machine_min"] is None:
        return None
    return ConfirmedWork(
        ActivityMinutes(*(Decimal(times[f"{name}_min"]) for name in ActivityMinutes._fields)),
        tuple((document["machine_states"] or {}).items()),
        tuple(_line(one) for one in document["components"]),
        tuple(MadeLot(one["lot"], int(one["qty"])) for one in document["lots"]),
        tuple(document["serials"]),
        tuple(document["operators"]),
        held=tuple(_held(one) for one in document.get("components_held", ())),
    )


def _held(told: Mapping[str, Any]) -> HeldMaterial:
    return HeldMaterial(told["item"], told["uom"], tuple((one["lot"], one["qty"]) for one in told["lots"]))


def _line(told: Mapping[str, Any]) -> ConfirmedLines:
    kind, posting, separate = LineKind(told["kind"]), Posting(told["posting"]), told["separate"] or ""
    line = MaterialLine(told["item"], told["uom"], Decimal(told["qty"]), kind, posting, separate)
    return ConfirmedLines(line, tuple((one["lot"], one["qty"]) for one in told["lots"]))


def _ns(text: str) -> int:
    return (dt.datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND * _NS_PER_US
