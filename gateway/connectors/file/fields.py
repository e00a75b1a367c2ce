"""A confirmation as named fields, whatever file they are written to. Pure; decides neither form nor sequence.

Names are those that columns and templates use. A field that this confirmation does not have is empty, or 0.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from gateway.connectors.base import MappingError
from gateway.connectors.mapping import amounts, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from gateway.connectors.mapping.settings import MappingSettings

FieldKind = Literal["text", "quantity", "minutes", "time", "day"]

_TIMES: Final = ("machine_setup", "labour_setup", "machine", "labour")
ACTIVITIES: Final = range(1, 7)
#: What a column's ``value`` may be, and what it is.
FIELDS: Final[dict[str, FieldKind]] = {
    **dict.fromkeys(
        (
            "message_id", "message_id_hex", "key", "gateway", "plant", "line", "machine", "work_center", "order",
            "revision", "operation", "sequence", "seq", "type", "final", "product", "product_revision", "uom",
            "scrap_reasons", "reason", "cycles", "flags", "hash", "reverses", "reverses_references", "trigger",
            "shift", "batch", "operators", "entered_by", "text", "line_number",
            *(f"activity_{number}_unit" for number in ACTIVITIES),
        ),
        "text",
    ),
    **dict.fromkeys(("good", "scrap", "rework", "quantity", "reason_qty", "estimated_pieces"), "quantity"),
    **dict.fromkeys((f"t_{name}_{unit}" for name in _TIMES for unit in ("min", "s")), "minutes"),
    **dict.fromkeys((f"activity_{number}" for number in ACTIVITIES), "minutes"),
    **dict.fromkeys(("from", "to", "created_at", "event_time"), "time"),
    **dict.fromkeys(("posting_date", "production_day"), "day"),
}  # fmt: skip


class Amount(NamedTuple):
    """What a message adds, and the total behind it; None: nobody knows the total."""

    by: Decimal
    after: Decimal | None = None

    def rounded(self, places: int | None) -> Decimal:
        """With so many decimals, so that all messages add up to the rounded total; None: exact."""
        if places is None:
            return self.by
        return amounts.rounded(self.by, places) if self.after is None else amounts.grown(self.after, self.by, places)


Value = str | Amount


class Reason(NamedTuple):
    """Scrap of one reason, in the ERP's word; "" where nobody said why."""

    reason: str
    quantity: Amount


class Confirmed(NamedTuple):
    """The fields of a confirmation, and its scrap by reason."""

    values: dict[str, Value]
    reasons: tuple[Reason, ...]

    def rows(self, lines: Literal["one", "reasons"]) -> list[dict[str, Value]]:
        """One line, or one for each reason: good, rework and times stand in the first, scrap is that of the reason."""
        if lines == "one" or not self.reasons:
            return [{**self.values, "line_number": "1"}]
        nothing = {name: Amount(Decimal(0)) for name, kind in FIELDS.items() if kind in {"quantity", "minutes"}}
        found = []
        for number, one in enumerate(self.reasons, start=1):
            row = {**self.values, **(nothing if number > 1 else {}), "line_number": str(number)}
            quantity = one.quantity if number > 1 else _sum(one.quantity, self.values, "good", "rework")
            found.append(
                {**row, "scrap": one.quantity, "reason": one.reason, "reason_qty": one.quantity}
                | {"quantity": quantity}
            )
        return found


def read(document: Mapping[str, Any], mapping: MappingSettings | None) -> Confirmed:
    """The fields of a canonical confirmation, in the ERP's words. Raises MappingError, naming the field."""
    made, total = _mapping(document, "qty"), document.get("qty_cumulative") or {}
    reasons = _reasons(document, made, total, mapping)
    period = _mapping(document, "period")
    estimated = document.get("estimated") or {}
    product = document.get("product") or {}
    work_center = _text(document, "work_center", "")
    uom = _text(document, "uom", "")
    message_id = _text(document, "confirmation_id")
    values: dict[str, Value] = {
        "message_id": message_id,
        "message_id_hex": message_id.replace("-", "").upper(),
        "key": _text(document, "idempotency_key"),
        "gateway": _text(document, "gateway_id", ""),
        "plant": _text(document, "plant", ""),
        "line": _text(document, "line", ""),
        "machine": _text(document, "machine", ""),
        "work_center": words.work_center(mapping, document) if mapping and work_center else work_center,
        "order": _text(document, "order_id"),
        "revision": str(document.get("order_revision") or 0),
        "operation": _text(document, "operation"),
        "sequence": _text(document, "sequence", "0"),
        "seq": _integer(document, "seq"),
        "type": _text(document, "type"),
        "final": "X" if document.get("type") == "final" else "",
        "product": _text(product, "id", ""),
        "product_revision": _text(product, "revision", ""),
        "uom": words.unit(mapping, document) if mapping and uom else uom,
        "cycles": str(document.get("cycles") or 0),
        "flags": ",".join(map(str, document.get("data_quality_flags") or ())),
        "hash": _text(document, "hash", ""),
        "reverses": _text(document, "reverses", ""),
        "reverses_references": ",".join(map(str, document.get("reverses_references") or ())),
        "trigger": _text(document, "trigger", ""),
        "shift": _text(document, "shift", ""),
        "batch": ",".join(str(one.get("lot")) for one in document.get("lots") or ()),
        "operators": ",".join(map(str, document.get("operators") or ())),
        "entered_by": _text(document, "entered_by", ""),
        "text": _text(document, "reason", ""),
        "reason": next((one.reason for one in reasons if one.reason), ""),
        "from": _text(period, "from", ""),
        "to": _text(period, "to", ""),
        "created_at": _text(document, "created_at", ""),
        "event_time": _text(document, "event_time_last", ""),
        "posting_date": _text(document, "posting_date", ""),
        "production_day": _text(document, "production_day", ""),
        "good": _amount(made.get("good"), total.get("good"), "qty.good"),
        "rework": _amount(made.get("rework", "0"), total.get("rework"), "qty.rework"),
        "scrap": _scrap(reasons),
        "reason_qty": next((one.quantity for one in reasons if one.reason), Amount(Decimal(0))),
        "estimated_pieces": _amount(estimated.get("pieces", "0"), None, "estimated.pieces"),
    }
    values |= _times(document, mapping)
    values["quantity"] = _sum(_as_amount(values["scrap"]), values, "good", "rework")
    return Confirmed(values, reasons)


def _reasons(
    document: Mapping[str, Any], made: Mapping[str, Any], total: Mapping[str, Any], mapping: MappingSettings | None
) -> tuple[Reason, ...]:
    scrap = made.get("scrap", [])
    if not isinstance(scrap, list) or not all(isinstance(one, dict) for one in scrap):
        raise MappingError(f"qty.scrap: found {scrap!r}, allowed: a list of reason and qty")
    rows = [(one.get("reason"), _decimal(one.get("qty"), "qty.scrap.qty")) for one in scrap]
    reached: Decimal | None = None
    if "scrap" in total:
        after = sum((_decimal(one.get("qty"), "qty_cumulative.scrap") for one in total["scrap"]), Decimal(0))
        reached = after - sum((quantity for _, quantity in rows), Decimal(0))
    found = []
    for name, quantity in rows:
        # One reason after the other, each from where the one before has come to: together they are the whole.
        reached = None if reached is None else reached + quantity
        word = words.reason(mapping, name, document) if mapping else name
        found.append(Reason(str(word or ""), Amount(quantity, reached)))
    return tuple(found)


def _scrap(reasons: Iterable[Reason]) -> Amount:
    listed = tuple(reasons)
    by = sum((one.quantity.by for one in listed), Decimal(0))
    return Amount(by, listed[-1].quantity.after if listed else None)


def _sum(first: Amount, values: Mapping[str, Value], *names: str) -> Amount:
    parts = [first, *(_as_amount(values[name]) for name in names)]
    totals = [one.after for one in parts]
    known = [one for one in totals if one is not None]
    by = sum((one.by for one in parts), Decimal(0))
    return Amount(by, sum(known, Decimal(0)) if len(known) == len(totals) else None)


def _times(document: Mapping[str, Any], mapping: MappingSettings | None) -> dict[str, Value]:
    times, totals = document.get("times") or {}, document.get("times_cumulative") or {}
    found: dict[str, Value] = {}
    for name in _TIMES:
        told = times.get(f"{name}_min")
        minutes = _amount(told or "0", totals.get(f"{name}_min") if told else None, f"times.{name}_min")
        after = None if minutes.after is None else minutes.after * 60
        found |= {f"t_{name}_min": minutes, f"t_{name}_s": Amount(minutes.by * 60, after)}
    slots = words.slots(mapping, document) if mapping else {}
    for number in ACTIVITIES:
        slot = slots.get(number)
        spent = Decimal(0) if mapping is None or slot is None else amounts.activity(mapping, slot, document)
        found[f"activity_{number}"] = Amount(spent)
        found[f"activity_{number}_unit"] = "" if slot is None else slot.erp_unit or slot.unit
    return found


def _as_amount(value: Value) -> Amount:
    assert isinstance(value, Amount), "FIELDS says so"
    return value


def _amount(by: object, after: object, name: str) -> Amount:
    return Amount(_decimal(by, name), None if after is None else _decimal(after, f"{name} (cumulative)"))


def _mapping(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if not isinstance(value, dict):
        raise MappingError(f"{name}: found {value!r}, allowed: an object")
    return value


def _text(document: Mapping[str, Any], name: str, default: str | None = None) -> str:
    value = document.get(name)
    if value is None and default is not None:
        return default
    if not isinstance(value, str) or (not value and default is None):
        raise MappingError(f"{name}: found {value!r}, allowed: text")
    return value


def _integer(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise MappingError(f"{name}: found {value!r}, allowed: a whole number from 1 on")
    return str(value)


def _decimal(value: object, name: str) -> Decimal:
    try:
        number = Decimal(value) if isinstance(value, (str, int, Decimal)) and not isinstance(value, bool) else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite():
        raise MappingError(f"{name}: found {value!r}, allowed: a number as text")
    return number
