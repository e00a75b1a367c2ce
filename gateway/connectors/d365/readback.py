"""What Dynamics has booked, measured before a message and after it: the only proof where messages have no key. Pure.

The measure of a message is a handful of sums that it changes. The difference to the baseline is compared with what the
message says: all of it, nothing of it, or something else, which only a person can explain.
"""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.base import Lookup, LookupKind
from gateway.connectors.d365.messages import PICKING_LIST, REPORT_FINISHED, ROUTE_CARD

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.d365.settings import D365Settings

QUANTITY_STEP: Final = Decimal("0.000001")


class Measure(NamedTuple):
    """Sums of one kind of message; ``newest`` is the highest number of a transaction, 0 where there is none."""

    good: Decimal = Decimal(0)
    error: Decimal = Decimal(0)
    hours: Decimal = Decimal(0)
    newest: int = 0

    def encoded(self) -> bytes:
        """As a baseline is kept."""
        return json.dumps([str(self.good), str(self.error), str(self.hours), self.newest]).encode()


def decoded(baseline: bytes) -> Measure:
    """What ``encoded`` made. Raises ValueError."""
    try:
        good, error, hours, newest = json.loads(baseline)
        return Measure(Decimal(good), Decimal(error), Decimal(hours), int(newest))
    except (TypeError, InvalidOperation) as wrong:
        raise ValueError(f"the baseline {baseline[:80]!r} is none of this connector") from wrong


def of_transactions(settings: D365Settings, rows: Iterable[Mapping[str, Any]]) -> Measure:
    """Posted route transactions of one operation."""
    return _summed(rows, settings.good_field, settings.error_field, settings.hours_field)


def of_picking(settings: D365Settings, rows: Iterable[Mapping[str, Any]]) -> Measure:
    """Posted picking list lines of one order."""
    return _summed(rows, settings.picking_quantity_field, "", "")


def of_header(row: Mapping[str, Any]) -> Measure:
    """What is left to be reported, as a number that grows by reporting."""
    return Measure(good=-_decimal(row.get("RemainingReportAsFinishedQuantity")))


def expected(settings: D365Settings, kind: str, content: Mapping[str, Any]) -> Measure:
    """What a message adds to its measure."""
    if kind == ROUTE_CARD:
        return _summed(content["RouteCardLines"], "GoodQuantity", "ErrorQuantity", "Hours")
    if kind == PICKING_LIST:
        return _summed(content["PickingListLines"], "ConsumptionBOMQuantity", "", "")
    assert kind == REPORT_FINISHED, kind
    told = _summed(content["ReportFinishedLines"], "ReportedGoodQuantity", "ReportedErrorQuantity", "")
    return Measure(good=told.good + (told.error if settings.remainder == "good_and_error" else 0))


def compared(before: Measure, now: Measure, wanted: Measure) -> Lookup:
    """What the difference proves."""
    grown = tuple(_exact(new - old) for new, old in zip(_sums(now), _sums(before), strict=True))
    # The ERP rounds hours in its own way: they decide only where nothing else was told.
    told = 2 if wanted.good or wanted.error else 3
    if grown[:told] == tuple(_exact(one) for one in _sums(wanted)[:told]):
        return Lookup(LookupKind.FOUND, f"transaction {now.newest}" if now.newest else f"remaining {-now.good:f}")
    if not any(grown):
        return Lookup(LookupKind.ABSENT, detail="nothing was booked since this was sent")
    found = ", ".join(f"{name} {number:f}" for name, number in zip(Measure._fields, grown, strict=False))
    wished = ", ".join(f"{name} {number:f}" for name, number in zip(Measure._fields, _sums(wanted), strict=False))
    return Lookup(
        LookupKind.UNKNOWN,
        detail=f"booked since it was sent: {found}; expected: {wished}; somebody else booked there: look, then decide",
    )


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


def _decimal(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, (str, int, Decimal)):
        return Decimal(0)
    try:
        number = Decimal(value)
    except InvalidOperation:
        return Decimal(0)
    return number if number.is_finite() else Decimal(0)
