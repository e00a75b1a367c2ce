"""What Dynamics has booked, measured before a message and after it: the only proof where messages have no key. Pure.

The measure of a message is a handful of sums that it changes, and, where the message processor can be read, how many
messages with the very same content are in which state. A message that was processed or has failed since is proof. Else
the difference of the sums is compared with what the message says: all of it, nothing of it, or something else, which
only a person can explain.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import Lookup, LookupKind
from gateway.connectors.d365.messages import PICKING_LIST, REPORT_FINISHED, ROUTE_CARD
from gateway.connectors.http_answer import DETAIL_MAX_CHARS
from gateway.core.foreign_text import clean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.d365.settings import D365Settings

QUANTITY_STEP: Final = Decimal("0.000001")
BY_MESSAGE: Final = "the message was processed"
FAILED: Final = "MESSAGE_FAILED"


class Measure(NamedTuple):
    """Sums of one kind of message.

    ``newest`` is the highest number of a transaction, 0 where there is none. ``basis``: what the sums are counted from;
    where it changes, they say nothing.
    """

    good: Decimal = Decimal(0)
    error: Decimal = Decimal(0)
    hours: Decimal = Decimal(0)
    newest: int = 0
    basis: str = ""


class Processed(NamedTuple):
    """How many messages of one content are in which state at the message processor."""

    waiting: int = 0
    done: int = 0
    failed: int = 0
    log: str = ""


class Baseline(NamedTuple):
    """What was there before a message. ``processed``: None where nobody can read the message processor."""

    measure: Measure
    processed: Processed | None = None

    def encoded(self) -> bytes:
        """As it is kept."""
        good, error, hours, newest, basis = self.measure
        states = None if self.processed is None else list(self.processed[:3])
        return json.dumps([str(good), str(error), str(hours), newest, basis, states]).encode()


def decoded(baseline: bytes) -> Baseline:
    """What ``encoded`` made. Raises ValueError."""
    try:
        good, error, hours, newest, basis, states = json.loads(baseline)
        measure = Measure(Decimal(good), Decimal(error), Decimal(hours), int(newest), str(basis))
        if states is None:
            return Baseline(measure)
        waiting, done, failed = map(int, states)
        return Baseline(measure, Processed(waiting, done, failed))
    except (TypeError, ValueError, InvalidOperation) as wrong:
        raise ValueError(f"the baseline {baseline[:80]!r} is none of this connector") from wrong


def of_transactions(settings: D365Settings, rows: Iterable[Mapping[str, Any]]) -> Measure:
    """Posted route transactions of one operation."""
    return _summed(rows, settings.good_field, settings.error_field, settings.hours_field)


def of_picking(settings: D365Settings, rows: Iterable[Mapping[str, Any]]) -> Measure:
    """Posted picking list lines of one order."""
    return _summed(rows, settings.picking_quantity_field, "", "")


def of_header(row: Mapping[str, Any]) -> Measure:
    """What is left to be reported, as a number that grows by reporting."""
    basis = "/".join(f"{_decimal(row.get(name)).normalize():f}" for name in ("ScheduledQuantity", "StartedQuantity"))
    return Measure(good=-_decimal(row.get("RemainingReportAsFinishedQuantity")), basis=basis)


def of_messages(settings: D365Settings, rows: Iterable[Mapping[str, Any]], content: str) -> Processed:
    """The messages with this very content."""
    found = Processed()
    for row in rows:
        if row.get(settings.message_content_field) != content:
            continue
        match str(row.get(settings.message_state_field)):
            case "Processed":
                found = found._replace(done=found.done + 1)
            case "Failed" | "Canceled":
                log = clean(str(row.get(settings.message_log_field) or ""), DETAIL_MAX_CHARS)
                found = found._replace(failed=found.failed + 1, log=log)
            case _:
                found = found._replace(waiting=found.waiting + 1)
    return found


def expected(settings: D365Settings, kind: str, content: Mapping[str, Any]) -> Measure:
    """What a message adds to its measure."""
    if kind == ROUTE_CARD:
        return _summed(content["RouteCardLines"], "GoodQuantity", "ErrorQuantity", "Hours")
    if kind == PICKING_LIST:
        return _summed(content["PickingListLines"], "ConsumptionBOMQuantity", "", "")
    assert kind == REPORT_FINISHED, kind
    told = _summed(content["ReportFinishedLines"], "ReportedGoodQuantity", "ReportedErrorQuantity", "")
    return Measure(good=told.good + (told.error if settings.remainder == "good_and_error" else 0))


def compared(before: Baseline, now: Baseline, wanted: Measure) -> Lookup:
    """What the difference proves."""
    told = by_message(before.processed, now.processed, now.measure)
    return told if told is not None else _by_sums(before.measure, now.measure, wanted)


def by_message(before: Processed | None, now: Processed | None, measure: Measure | None = None) -> Lookup | None:
    """What the message processor says of the message; None: it does not know it, or cannot be read."""
    if before is None or now is None:
        return None
    # One message of an order is under way at a time: what has grown is this one. By two: it came twice; the sums tell.
    if now.done == before.done + 1:
        number = 0 if measure is None else measure.newest
        return Lookup(LookupKind.FOUND, f"transaction {number}" if number else BY_MESSAGE)
    if now.done == before.done and now.failed > before.failed:
        return Lookup(
            LookupKind.REFUSED, detail=f"the message failed there: {now.log or 'no reason given'}", code=FAILED
        )
    if now.done == before.done and now.waiting > before.waiting:
        return Lookup(LookupKind.ACCEPTED, "queued", "the message waits in the queue")
    return None


def _by_sums(before: Measure, now: Measure, wanted: Measure) -> Lookup:
    if now.basis != before.basis:
        text = f"the quantity of the order was changed since it was sent (from {before.basis} to {now.basis})"
        return Lookup(LookupKind.UNCLEAR, detail=f"{text}, so that what is left to report proves nothing")
    grown = tuple(_exact(new - old) for new, old in zip(_sums(now), _sums(before), strict=True))
    # The ERP rounds hours in its own way: they decide only where nothing else was told.
    told = 2 if wanted.good or wanted.error else 3
    if not any(_sums(wanted)):
        return _of_nothing(before, now, grown)
    if grown[:told] == tuple(_exact(one) for one in _sums(wanted)[:told]):
        return Lookup(LookupKind.FOUND, f"transaction {now.newest}" if now.newest else f"remaining {-now.good:f}")
    if not any(grown[:told]):
        return Lookup(LookupKind.ABSENT, detail="nothing was booked since this was sent")
    found = ", ".join(f"{name} {_short(number)}" for name, number in zip(Measure._fields, grown, strict=False))
    wished = ", ".join(f"{name} {_short(number)}" for name, number in zip(Measure._fields, _sums(wanted), strict=False))
    text = f"booked since it was sent: {found}; expected: {wished}; somebody else booked there: look, then decide"
    return Lookup(LookupKind.UNCLEAR, detail=text)


def _of_nothing(before: Measure, now: Measure, grown: tuple[Decimal, ...]) -> Lookup:
    """A message that changes no sum: its transaction is all there is to see."""
    if now.newest > before.newest and not any(grown):
        return Lookup(LookupKind.FOUND, f"transaction {now.newest}")
    text = "the message changes nothing that can be measured: look whether it is booked, then decide"
    return Lookup(LookupKind.UNCLEAR, detail=text)


def _summed(rows: Iterable[Mapping[str, Any]], good: str, error: str, hours: str) -> Measure:
    found = Measure()
    for row in rows:
        found = Measure(
            found.good + _decimal(row.get(good)),
            found.error + _decimal(row.get(error)),
            found.hours + _decimal(row.get(hours)),
            max(found.newest, int(_decimal(row.get("RecordId")))),
        )
    return found


def _sums(one: Measure) -> tuple[Decimal, Decimal, Decimal]:
    return one.good, one.error, one.hours


def _exact(number: Decimal) -> Decimal:
    return number.quantize(QUANTITY_STEP)


def _short(number: Decimal) -> str:
    return f"{number.normalize() + 0:f}"


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return Decimal(0)
    try:
        number = Decimal(value)
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)
