"""Numbers of SAP: of orders with their leading zeros, and which of two IDocs about an order is the newer. Pure."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from gateway.connectors.mapping.words import match_form, with_leading_zeros

if TYPE_CHECKING:
    from gateway.connectors.sap_idoc.idoc_xml import Segment

ORDER_CHARS: Final = 12
SERIAL_CHARS: Final = 14
#: Of a second: so many IDocs are told apart by their number.
PER_SECOND: Final = 1_000_000
#: The version counts from here, so that it fits a number of any language.
FIRST_YEAR: Final = dt.datetime(2000, 1, 1, tzinfo=dt.UTC)


def number_of(text: str, *, short: bool) -> str:
    """A number as it came, or without its leading zeros."""
    return match_form(text) if short and text else text


def order_number(text: str, *, short: bool) -> str:
    """The gateway's number of an order: SAP's own twelve characters, or its short form."""
    return number_of(text, short=short)


def sap_order(order: str) -> str:
    """SAP's twelve characters of an order, whatever form the gateway has. Longer than that: as it is."""
    return with_leading_zeros(order, ORDER_CHARS)


def version(control: Segment, reasons: list[str], where: str) -> int:
    """Grows with SERIAL (or date and time of making), within the same second with DOCNUM.

    Notes a reason and is 0 where the control record has neither.
    """
    second = _second(control.get("SERIAL")[:SERIAL_CHARS]) or _second(control.get("CREDAT") + control.get("CRETIM"))
    number = control.get("DOCNUM")
    if second is None or not (number.isascii() and number.isdigit()):
        found = f"SERIAL {control.get('SERIAL')!r}, CREDAT {control.get('CREDAT')!r}, DOCNUM {number!r}"
        reasons.append(f"{where}found {found}, allowed: digits, of which the newer IDoc is known")
        return 0
    return second * PER_SECOND + int(number) % PER_SECOND


def _second(digits: str) -> int | None:
    if len(digits) != SERIAL_CHARS or not digits.isascii() or not digits.isdigit():
        return None
    try:
        found = dt.datetime.strptime(digits + "+0000", "%Y%m%d%H%M%S%z")
    except ValueError:
        return None
    return max((found - FIRST_YEAR) // dt.timedelta(seconds=1), 0)
