"""Units, reasons, work centers and order numbers in the ERP's words. Pure; what it cannot say is a MappingError."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError
from gateway.connectors.mapping.settings import ANY_WORK_CENTER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.mapping.settings import ActivitySlot, MappingSettings

_PIECE: Final = "H87"
#: Unit of an order, in capitals, to its code by UN/ECE Recommendation 20.
REC_20: Final[dict[str, str]] = {
    **dict.fromkeys(
        ("PC", "PCE", "PCS", "ST", "STK", "STUECK", "STÜCK", "H87", "NMB", "PZ", "SZT", "个", "件"), _PIECE
    ),
    **dict.fromkeys(("C62", "ONE", "UNIT", "U"), "C62"),
    **dict.fromkeys(("EA", "EACH"), "EA"),
    **dict.fromkeys(("PR", "PAAR", "PAIR"), "PR"),
    **dict.fromkeys(("MIL", "TST", "TS", "THS"), "MIL"),
    **dict.fromkeys(("KG", "KGM"), "KGM"),
    **dict.fromkeys(("G", "GRM"), "GRM"),
    **dict.fromkeys(("T", "TO", "TNE"), "TNE"),
    **dict.fromkeys(("L", "LTR"), "LTR"),
    **dict.fromkeys(("M", "MTR"), "MTR"),
    **dict.fromkeys(("M2", "MTK"), "MTK"),
    **dict.fromkeys(("M3", "MTQ"), "MTQ"),
}
SHOWN_MAX: Final = 20


def unit(settings: MappingSettings, document: Mapping[str, Any]) -> str:
    """The ERP's word for the unit of a confirmation. Raises MappingError: a unit is never guessed.

    Listed in ``units``, or known (then it is the order's own word, as it came).
    """
    ours = _unit_of(document)
    if ours in settings.units:
        return settings.units[ours]
    if _known(ours) or ours in settings.unit_codes:
        return ours
    raise MappingError(
        f"{_where(document)}: uom: found {ours!r}, allowed: {_listed(settings.units)} or a known unit such as PCE, ST, "
        "C62 or KGM; add it to mapping.units"
    )


def unit_code(settings: MappingSettings, document: Mapping[str, Any]) -> str:
    """The unit of a confirmation by UN/ECE Recommendation 20 (H87 is a piece). Raises MappingError."""
    ours = _unit_of(document)
    found = settings.unit_codes.get(ours) or _known(ours) or _known(settings.units.get(ours, ""))
    if found is None:
        raise MappingError(
            f"{_where(document)}: uom: found {ours!r}, allowed: {_listed(settings.unit_codes)} or a known unit such as "
            "PCE, ST, C62 or KGM; add its code of UN/ECE Recommendation 20 to mapping.unit_codes"
        )
    return found


def reason(settings: MappingSettings, ours: str | None, document: Mapping[str, Any]) -> str | None:
    """The ERP's code for a reason of scrap; None: none is written. Raises MappingError for one that is not listed."""
    if ours is None:
        return settings.no_reason
    if ours in settings.reasons:
        return settings.reasons[ours]
    if settings.default_reason is not None:
        return settings.default_reason
    if not settings.reasons:
        return ours
    raise MappingError(
        f"{_where(document)}: qty.scrap: found reason {ours!r}, allowed: {_listed(settings.reasons)}; add it to "
        "mapping.reasons, or give a default_reason"
    )


def work_center(settings: MappingSettings, document: Mapping[str, Any]) -> str:
    """The ERP's work center of a confirmation. Raises MappingError where it has none."""
    ours = document.get("work_center")
    if not isinstance(ours, str) or not ours:
        raise MappingError(f"{_where(document)}: work_center: found {ours!r}, allowed: a text")
    return settings.work_centers.get(ours, ours)


def slots(settings: MappingSettings, document: Mapping[str, Any]) -> dict[int, ActivitySlot]:
    """The activities of the work center of a confirmation by number, in their sequence; none: no time is told."""
    found = settings.activities.get(str(document.get("work_center") or ""))
    if found is None:
        found = settings.activities.get(ANY_WORK_CENTER, {})
    return dict(sorted(found.items()))


def match_form(order: str) -> str:
    """What two ways of writing one order number have in common: ``100240`` for ``000000100240``.

    To compare only: what is sent is the order's number as it came.
    """
    written = order.strip()
    return (written.lstrip("0") or "0") if written.isascii() and written.isdigit() else written


def with_leading_zeros(order: str, width: int) -> str:
    """An order number of digits in at least so many places; any other as it is."""
    return order.zfill(width) if order.isascii() and order.isdigit() else order


def _unit_of(document: Mapping[str, Any]) -> str:
    ours = document.get("uom")
    if not isinstance(ours, str) or not ours.strip():
        raise MappingError(f"{_where(document)}: uom: found {ours!r}, allowed: the order's unit; name it in the order")
    return ours.strip()


def _known(unit_name: str) -> str | None:
    return REC_20.get(unit_name.upper())


def _where(document: Mapping[str, Any]) -> str:
    return f"order {document.get('order_id')}, operation {document.get('operation')}"


def _listed(rows: Mapping[str, str]) -> str:
    names = sorted(rows)
    if not names:
        return "nothing is listed"
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(names[:SHOWN_MAX]) + more
