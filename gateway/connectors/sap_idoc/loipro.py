"""Reads LOIPRO01 to LOIPRO05: one IDoc is the whole image of an order. Pure; which one is newer tells ``numbers``.

What SAP does with material stays SAP's: components that it flushes are marked so. By-products (below 0) and co-products
are told as what is made besides. Sub-operations, inspection lots and long texts are not read.
"""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from gateway.connectors.order_fields import OrderFields
from gateway.connectors.order_images import with_image
from gateway.connectors.sap_idoc.numbers import number_of, order_number, version
from gateway.connectors.sap_idoc.plant_time import instant
from gateway.core.model import Operation, ProductionOrder

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator, Mapping

    from gateway.connectors.mapping.settings import ActivitySlot
    from gateway.connectors.sap_idoc.idoc_xml import Idoc, Segment

MESSAGE: Final = "LOIPRO"
HEADER: Final = "E1AFKOL"
#: Status codes of SAP: it is over for us.
ENDED: Final[dict[str, str]] = {
    "I0013": "deleted",
    "I0045": "technically completed",
    "I0046": "closed",
    "I0076": "flagged for deletion",
}
LOCKED: Final = "I0043"
FULLY: Final = "I0002"
PARTLY: Final = "I0042"
RELEASED: Final = frozenset({FULLY, PARTLY})
#: An operation with one of these takes no confirmation any more.
OPERATION_ENDED: Final = frozenset({"I0013", "I0045", "I0046", "I0076"})
STANDARD_SEQUENCE: Final = "000000"
UNLIMITED_PCT: Final = Decimal(1000)
COMPONENT_DECIMALS: Final = 6
COMPONENT_STEP: Final = Decimal(1).scaleb(-COMPONENT_DECIMALS)
#: Seconds of one of SAP's units of time.
UNIT_S: Final[dict[str, int]] = {
    **dict.fromkeys(("S", "SEC"), 1),
    **dict.fromkeys(("MIN", "MINUTE"), 60),
    **dict.fromkeys(("H", "HR", "HUR", "STD"), 3600),
    **dict.fromkeys(("D", "DAY", "TAG"), 86_400),
}
#: Which activities are set-up and run, where ``mapping.activities`` says nothing of the work center.
USUAL_SLOTS: Final[dict[str, int]] = {"machine_setup": 1, "machine": 2}


class Reading(NamedTuple):
    """What the reader needs of the settings. ``skip`` are control keys whose operations are not ours."""

    zone: dt.tzinfo
    short_numbers: bool = False
    skip: frozenset[str] = frozenset()
    activities: Mapping[str, Mapping[int, ActivitySlot]] = {}


def orders_of(idoc: Idoc, reading: Reading, reasons: list[str]) -> tuple[ProductionOrder, ...]:
    """The orders of one IDoc; where a reason is noted, there is none."""
    found: list[ProductionOrder] = []
    before = len(reasons)
    for header in idoc.find(HEADER):
        order = _order(idoc, header, reading, reasons)
        if order is not None:
            found.append(order)
    if not found and len(reasons) == before:
        reasons.append(f"IDoc {idoc.number}: found no {HEADER}, allowed: an order in each {MESSAGE}")
    return tuple(found) if len(reasons) == before else ()


def _order(idoc: Idoc, header: Segment, reading: Reading, reasons: list[str]) -> ProductionOrder | None:
    number = order_number(header.get("AUFNR"), short=reading.short_numbers)
    where = f"IDoc {idoc.number}, order {number or '?'}: "
    item: Mapping[str, str] = next(header.all("E1AFPOL"), header).fields
    states = _states(header, "E1JSTKL")
    ended = [text for code, text in ENDED.items() if code in states]
    own: list[str] = []
    operations = _operations(header, reading, where, own)
    if not operations and not ended and not own:
        own.append(f"{where}E1AFVOL: found no operation that can be confirmed, allowed: one at least")
    uom = header.get("GMEIN")
    image: dict[str, Any] = {
        "order_id": number,
        "revision": version(idoc.control, own, where),
        "qty": header.get("GAMNG"),
        "sales_order": item.get("KDAUF", "").strip() or None,
        "type": header.get("AUART") or None,
        "operations": operations,
    }
    image |= _planned(header, reading.zone, where, own)
    image |= _tolerances(item)
    image["product"] = {"id": _material(header, short=reading.short_numbers), "uom": uom}
    image["batch"] = item.get("CHARG", "").strip() or None
    image["hold"] = f"locked in SAP ({LOCKED})" if LOCKED in states else None
    image["status"] = "closed" if ended else "released" if states & RELEASED else "planned"
    image["components"] = list(_components(header, image, operations))
    # Where SAP has ended it no operation may be left; what it had before stays known to the gateway.
    order = _checked(image, cancelled=bool(ended), where=where, reasons=own)
    reasons.extend(own)
    return None if own else order


def _checked(image: dict[str, Any], *, cancelled: bool, where: str, reasons: list[str]) -> ProductionOrder:
    fields = OrderFields(image, where, reasons, blank_is_missing=True)
    product = OrderFields(image["product"], f"{where}material ", reasons, blank_is_missing=True)
    quantity = fields.quantity("qty")
    operations = image["operations"] or [{"op": "0010", "work_center": "-", "qty": quantity}]
    read = tuple(_read(OrderFields(one, where, reasons, blank_is_missing=True)) for one in operations)
    order = ProductionOrder(
        order=fields.identifier("order_id", forbidden="/"),
        revision=image["revision"],
        product=product.identifier("id"),
        uom=product.identifier("uom"),
        quantity=quantity,
        operations=read,
        planned_start_ns=fields.time_ns("planned_start"),
        planned_end_ns=fields.time_ns("planned_end"),
        cancelled=cancelled,
        echo={name: text for name in ("type", "sales_order") if (text := fields.text(name))},
    )
    if reasons:
        return order
    further: list[str] = []
    whole = with_image(order, image, image["product"], operations, further)
    reasons.extend(where + reason for reason in further)
    return whole


def _read(fields: OrderFields) -> Operation:
    return Operation(
        operation=fields.identifier("op", forbidden="/"),
        work_center=fields.identifier("work_center"),
        quantity=fields.quantity("qty"),
        std_cycle_ns=fields.cycle_ns("std_cycle_s"),
        sequence=fields.identifier("sequence", default=STANDARD_SEQUENCE),
        text=fields.text("text"),
    )


def _operations(header: Segment, reading: Reading, where: str, reasons: list[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    taken: set[str] = set()
    states = _states(header, "E1JSTKL")
    partly = PARTLY in states and FULLY not in states
    for sequence in header.all("E1AFFLL"):
        in_sequence = sequence.get("PLNFL") or STANDARD_SEQUENCE
        for one in sequence.all("E1AFVOL"):
            own = _states(one, "E1JSTVL")
            if own & OPERATION_ENDED or (partly and own and FULLY not in own) or one.get("STEUS") in reading.skip:
                continue
            name = one.get("VORNR")
            # SAP's number is unique in a sequence only: that of another sequence is told apart by it.
            if name in taken:
                name = f"{name}-{in_sequence}"
            taken.add(name)
            found.append({"op": name, "sequence": in_sequence, **_operation(header, one, reading, where, reasons)})
    return found


def _operation(header: Segment, one: Segment, reading: Reading, where: str, reasons: list[str]) -> dict[str, Any]:
    base = _decimal(one.get("BMSCH")) or Decimal(1)
    times = {}
    for name, slot in _slots(reading, one.get("ARBPL")).items():
        value, unit = _decimal(one.get(f"VGW{slot:02d}")), one.get(f"VGE{slot:02d}").upper()
        if not value:
            continue
        if unit not in UNIT_S:
            reasons.append(f"{where}operation {one.get('VORNR')}, VGE{slot:02d}: found {unit!r}, allowed: S, MIN, H")
            continue
        times[name] = value * UNIT_S[unit]
    setup, run = times.get("machine_setup"), times.get("machine")
    return {
        "work_center": one.get("ARBPL"),
        "qty": _in_order_unit(header, one),
        "text": one.get("LTXA1"),
        # The next operation may, or must, begin while this one runs.
        "control": {"overlap": bool(one.get("UEKAN") or one.get("UEMUS"))},
        "base_qty": f"{base:f}",
        "std_setup_min": None if setup is None else f"{round(setup / 60, COMPONENT_DECIMALS):f}",
        "std_cycle_s": None if run is None else f"{round(run, COMPONENT_DECIMALS):f}",
    }


def _in_order_unit(header: Segment, one: Segment) -> str:
    """The operation's quantity in the order's unit, by the conversion in the segment; else the order's own."""
    quantity, unit = _decimal(one.get("MGVRG")), one.get("MEINH")
    if quantity is None or quantity <= 0:
        return header.get("GAMNG")
    if unit in ("", header.get("GMEIN")):
        return f"{quantity:f}"
    over, under = _decimal(one.get("UMREN")), _decimal(one.get("UMREZ"))
    if not over or not under:
        return header.get("GAMNG")
    return f"{round(quantity * over / under, COMPONENT_DECIMALS):f}"


def _slots(reading: Reading, work_center: str) -> Mapping[str, int]:
    rows = reading.activities.get(work_center, reading.activities.get("*"))
    return USUAL_SLOTS if rows is None else {row.time: number for number, row in rows.items()}


def _components(
    header: Segment, image: Mapping[str, Any], operations: list[dict[str, Any]]
) -> Iterator[dict[str, Any]]:
    whole = _decimal(image["qty"])
    known = {one["op"] for one in operations}
    for sequence in header.all("E1AFFLL"):
        for operation in sequence.all("E1AFVOL"):
            name = operation.get("VORNR")
            for one in operation.all("E1RESBL"):
                quantity = _decimal(one.get("BDMNG"))
                # What is fully withdrawn or deleted has nothing left.
                if not quantity or not whole or whole <= 0 or one.get("XLOEK"):
                    continue
                kind = "co_product" if one.get("KZKUP") else "by_product" if quantity < 0 else "consumed"
                quantity = abs(quantity)
                fixed = bool(one.get("FMENG"))
                per = quantity if fixed else max(round(quantity / whole, COMPONENT_DECIMALS), COMPONENT_STEP)
                yield {
                    "item": one.get("MATNR"),
                    "qty_per": f"{per:f}",
                    "uom": one.get("MEINS"),
                    "op": name if name in known else None,
                    "fixed": fixed,
                    # What SAP flushes it books itself with the confirmation.
                    "flush_method": "erp" if one.get("BACKFLUSH") else "manual",
                    **({} if kind == "consumed" else {"kind": kind, "flush_method": "backflush"}),
                }


def _planned(header: Segment, zone: dt.tzinfo, where: str, reasons: list[str]) -> dict[str, str | None]:
    found: dict[str, str | None] = {}
    pairs = {
        "planned_start": (("GSTRS", "GSUZS"), ("GSTRP", "GSUZP")),
        "planned_end": (("GLTRS", "GLUZS"), ("GLTRP", "GLUZP")),
    }
    for name, places in pairs.items():
        found[name] = None
        for date, time in places:
            try:
                found[name] = found[name] or instant(header.get(date), header.get(time), zone)
            except ValueError as error:
                reasons.append(f"{where}{date}, {time}: {error}")
    return found


def _tolerances(item: Mapping[str, str]) -> dict[str, str | None]:
    over = "1000" if item.get("UEBTK", "").strip() else item.get("UEBTO", "").strip()
    return {"over_tolerance_pct": over or None, "under_tolerance_pct": item.get("UNTTO", "").strip() or None}


def _material(header: Segment, *, short: bool) -> str:
    text = next((text for name in ("MATNR_EXTERNAL", "MATNR_LONG", "MATNR") if (text := header.get(name))), "")
    return number_of(text, short=short)


def _states(segment: Segment, name: str) -> set[str]:
    return {one.get("STAT") for one in segment.all(name) if not one.get("INACT")}


def _decimal(text: str) -> Decimal | None:
    # A flat field has its sign behind it.
    written = f"-{text[:-1]}" if text.endswith("-") else text.rstrip("+")
    try:
        found = Decimal(written) if written and written.isascii() and "_" not in written else None
    except InvalidOperation:
        return None
    return found if found is not None and found.is_finite() else None
