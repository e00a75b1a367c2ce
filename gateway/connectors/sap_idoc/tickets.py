"""Writes a confirmation as PPCC2PRETTICKET: one IDoc with one ticket for each reason. Pure: same document, same bytes.

The first ticket has the yield, the rework and the times, each one the scrap of its reason; the last one of a final
confirmation says that it is final. Amounts are what the rounded totals grow by. There is no IDoc that takes a
confirmation back.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from gateway.connectors.base import MappingError, Rendered, step_id
from gateway.connectors.mapping import amounts, moments, words
from gateway.connectors.sap_idoc.idoc_xml import Segment, write
from gateway.connectors.sap_idoc.log_stamp import log_second
from gateway.connectors.sap_idoc.numbers import sap_order
from gateway.connectors.sap_idoc.plant_time import digits, seconds, utc_digits
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from gateway.connectors.sap_idoc.settings import SapIdocSettings

MESSAGE: Final = "PPCC2PRETTICKET"
TICKET: Final = "E1BP_PP_TIMETICKET"
MSGID: Final = "urn:sap.com:msgid="
INBOUND: Final = "2"
LOGICAL_SYSTEM: Final = "LS"
PARTIAL_TICKET: Final = "L20"
FINAL_TICKET: Final = "L40"
FINAL_WORDS: Final = {"final": "X", "automatic": "1", "partial": ""}
DOCNUM_DIGITS: Final = 16
SEQUENCE_CHARS: Final = 6
QUANTITY_MAX: Final = Decimal(10) ** 10
QUANTITY_DECIMALS: Final = 3
NAME_PART_MAX_CHARS: Final = 20
SHORT_ID_CHARS: Final = 12
#: Longest text of each field, in the sequence of the segment.
SIZES: Final[dict[str, int]] = {
    "ORDERID": 12,
    "SEQUENCE": 6,
    "OPERATION": 4,
    "FIN_CONF": 1,
    "CLEAR_RES": 1,
    "POSTG_DATE": 8,
    "DEV_REASON": 4,
    "CONF_TEXT": 40,
    "PLANT": 4,
    "WORK_CNTR": 8,
    "RECORDTYPE": 3,
    "CONF_QUAN_UNIT": 3,
    "CONF_QUAN_UNIT_ISO": 3,
    "YIELD": 15,
    "SCRAP": 15,
    "REWORK": 15,
    **{
        name: size
        for number in range(1, 7)
        for name, size in (
            (f"CONF_ACTI_UNIT{number}", 3),
            (f"CONF_ACTI_UNIT{number}_ISO", 3),
            (f"CONF_ACTIVITY{number}", 15),
        )
    },
    "EXEC_START_DATE": 8,
    "EXEC_START_TIME": 6,
    "EXEC_FIN_DATE": 8,
    "EXEC_FIN_TIME": 6,
    "EX_CREATED_BY": 12,
    "EX_CREATED_DATE": 8,
    "EX_CREATED_TIME": 6,
    "EX_IDENT": 32,
    "LOGDATE": 8,
    "LOGTIME": 6,
}

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]")


class _Scrap(NamedTuple):
    """Scrap of one ticket, and SAP's reason of it, "" for none."""

    reason: str
    quantity: Decimal


def render(document: Mapping[str, Any], settings: SapIdocSettings, plant_zone: str) -> Rendered:
    """The IDocs of a confirmation, one step each. Raises MappingError, naming field, found and allowed."""
    _check(document)
    zone = moments.zone_of(settings.mapping, plant_zone)
    made = amounts.amounts(settings.mapping, document)
    if min(made.good, made.scrap, made.rework, *(one.quantity for one in made.reasons)) < 0:
        raise MappingError(
            f"qty: found good {made.good}, scrap {made.scrap}, rework {made.rework}, allowed: nothing below 0; "
            "correct it in SAP (CO13 cancels a confirmation), then discard this posting"
        )
    scraps = _scraps(document, settings, made)
    shared = _shared(document, settings, zone)
    messages = []
    for number, scrap in enumerate(scraps):
        fields = dict(shared)
        if number == 0:
            fields |= _main(document, settings, made)
        is_last = number == len(scraps) - 1
        fields |= _ending(document, settings, is_last=is_last)
        fields |= {"DEV_REASON": scrap.reason, "SCRAP": _quantity(scrap.quantity, "qty.scrap")}
        messages.append(_message(document, settings, fields, number, zone))
    return messages[0]._replace(more=tuple(messages[1:]))


def message_hex(message_id: str) -> str:
    """The id as SAP has it: 32 hexadecimal digits in capitals."""
    return UUID(message_id).hex.upper()


def docnum_of(message_id: str) -> str:
    """The sender's number of the message's IDoc, sixteen digits; SAP gives it a number of its own."""
    return str(UUID(message_id).int % 10**DOCNUM_DIGITS).zfill(DOCNUM_DIGITS)


def _message(
    document: Mapping[str, Any], settings: SapIdocSettings, fields: dict[str, str], number: int, zone: dt.tzinfo
) -> Rendered:
    message_id = step_id(document["confirmation_id"], number)
    created = moments.moment(document.get("created_at"), "created_at")
    lag_s = int(settings.log_lag) // NS_PER_S
    second = log_second(seconds(created), document["seq"], number, step_s=settings.log_step, lag_s=lag_s)
    fields["LOGDATE"], fields["LOGTIME"] = utc_digits(second)
    fields["EX_IDENT"] = message_hex(message_id)
    ticket = Segment(TICKET, _sized(fields))
    tree = ticket if not settings.header_segment else Segment(settings.header_segment, {}, (ticket,))
    local = created.astimezone(zone)
    partner = settings.partner
    control = {
        "TABNAM": "EDI_DC40",
        "MANDT": settings.client,
        "DOCNUM": docnum_of(message_id),
        "DIRECT": INBOUND,
        "IDOCTYP": settings.basic_type,
        "CIMTYP": settings.extension,
        "MESTYP": MESSAGE,
        "MESCOD": settings.message_code,
        "MESFCT": settings.message_function,
        "SNDPOR": partner.sender_port,
        "SNDPRT": LOGICAL_SYSTEM,
        "SNDPRN": partner.sender,
        "RCVPOR": partner.receiver_port,
        "RCVPRT": LOGICAL_SYSTEM,
        "RCVPRN": partner.receiver,
        "CREDAT": local.strftime("%Y%m%d"),
        "CRETIM": local.strftime("%H%M%S"),
        "ARCKEY": MSGID + message_hex(message_id),
        "SERIAL": "".join(utc_digits(second)),
    }
    body = write(settings.basic_type, control, (tree,), soap=settings.transport == "soap")
    media = "text/xml; charset=utf-8" if settings.transport == "soap" else "application/xml"
    return Rendered(body, media, _file_name(document, number, message_id))


def _shared(document: Mapping[str, Any], settings: SapIdocSettings, zone: dt.tzinfo) -> dict[str, str]:
    """What every ticket of a confirmation has."""
    own = settings.mapping
    span = moments.span(document, zone)
    created = moments.local(document.get("created_at"), "created_at", zone)
    # An operation of another sequence has that sequence behind its number, see the reading of orders.
    operation = document["operation"].partition("-")[0]
    fields = {
        "ORDERID": sap_order(document["order_id"]),
        "SEQUENCE": words.with_leading_zeros(str(document.get("sequence") or "0"), SEQUENCE_CHARS),
        "OPERATION": operation,
        "POSTG_DATE": digits(moments.posting_date(document, zone)),
        "CONF_TEXT": f"linegate {document['seq']}",
        "PLANT": (document.get("plant") or "") if settings.plant is None else settings.plant,
        "WORK_CNTR": words.work_center(own, document),
        "CONF_QUAN_UNIT": words.unit(own, document),
        "EXEC_START_DATE": digits(span.start),
        "EXEC_START_TIME": span.start.strftime("%H%M%S"),
        "EXEC_FIN_DATE": digits(span.end),
        "EXEC_FIN_TIME": span.end.strftime("%H%M%S"),
        "EX_CREATED_BY": settings.entered_by,
        "EX_CREATED_DATE": digits(created),
        "EX_CREATED_TIME": created.strftime("%H%M%S"),
    }
    if settings.unit_iso:
        fields["CONF_QUAN_UNIT_ISO"] = words.unit_code(own, document)
    return fields


def _main(document: Mapping[str, Any], settings: SapIdocSettings, made: amounts.Amounts) -> dict[str, str]:
    """Yield, rework and times, which are told once."""
    own = settings.mapping
    fields = {"YIELD": _quantity(made.good, "qty.good"), "REWORK": _quantity(made.rework, "qty.rework")}
    for number, slot in words.slots(own, document).items():
        time = amounts.activity(own, slot, document)
        if time < 0:
            raise MappingError(f"times.{slot.time}_min: found {time}, allowed: 0 and more")
        fields[f"CONF_ACTI_UNIT{number}"] = slot.erp_unit or slot.unit
        if settings.unit_iso:
            fields[f"CONF_ACTI_UNIT{number}_ISO"] = amounts.TIME_CODES[slot.unit]
        fields[f"CONF_ACTIVITY{number}"] = _quantity(time, f"times.{slot.time}_min")
    return fields


def _ending(document: Mapping[str, Any], settings: SapIdocSettings, *, is_last: bool) -> dict[str, str]:
    word = FINAL_WORDS[settings.final] if is_last and document.get("type") == "final" else ""
    clears = bool(word) and settings.clear_reservations and document.get("clear_reservations") is True
    return {
        "FIN_CONF": word,
        "CLEAR_RES": "X" if clears else "",
        "RECORDTYPE": FINAL_TICKET if word == "X" else PARTIAL_TICKET,
    }


def _scraps(document: Mapping[str, Any], settings: SapIdocSettings, made: amounts.Amounts) -> list[_Scrap]:
    """One for each reason of SAP, in the sequence of the document; what has no amount is left out."""
    found: dict[str, Decimal] = {}
    for one in made.reasons:
        if one.quantity:
            code = words.reason(settings.mapping, one.reason, document) or ""
            found[code] = found.get(code, Decimal(0)) + one.quantity
    return [_Scrap(code, quantity) for code, quantity in found.items()] or [_Scrap("", made.scrap)]


def _check(document: Mapping[str, Any]) -> None:
    if document.get("type") == "reversal":
        raise MappingError(
            "type: found reversal, allowed: partial, final; no IDoc takes one back: cancel it in SAP (CO13), "
            "then discard this posting"
        )
    for name in ("order_id", "operation", "confirmation_id"):
        if not isinstance(document.get(name), str) or not document[name]:
            raise MappingError(f"{name}: found {document.get(name)!r}, allowed: a text; every confirmation has one")
    seq = document.get("seq")
    if isinstance(seq, bool) or not isinstance(seq, int) or seq < 1:
        raise MappingError(f"seq: found {seq!r}, allowed: a whole number from 1 on")
    try:
        UUID(document["confirmation_id"])
    except ValueError as error:
        raise MappingError(f"confirmation_id: found {document['confirmation_id']!r}, allowed: a UUID") from error


def _quantity(number: Decimal, name: str) -> str:
    if number >= QUANTITY_MAX or number != round(number, QUANTITY_DECIMALS):
        raise MappingError(
            f"{name}: found {number}, allowed: below {QUANTITY_MAX} with at most {QUANTITY_DECIMALS} decimals; "
            "see mapping.quantity_decimals and mapping.time_decimals"
        )
    return amounts.written(number)


def _sized(fields: Mapping[str, str]) -> dict[str, str]:
    """In the sequence of the segment. Raises MappingError for what does not fit: nothing is cut."""
    for name, text in fields.items():
        if len(text) > SIZES[name] or not text.isprintable():
            raise MappingError(f"{name}: found {text!r}, allowed: up to {SIZES[name]} printable characters")
    return {name: fields.get(name, "") for name in SIZES}


def _file_name(document: Mapping[str, Any], number: int, message_id: str) -> str:
    parts = [_UNSAFE.sub("_", document[name])[:NAME_PART_MAX_CHARS] for name in ("order_id", "operation")]
    short_id = message_hex(message_id)[:SHORT_ID_CHARS]
    return f"{MESSAGE}-{'-'.join(parts)}-{document['seq']:06d}-{number:02d}-{short_id}.xml"
