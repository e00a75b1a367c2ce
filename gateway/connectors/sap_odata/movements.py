"""The material of a confirmation as goods movements of SAP, for plants whose gateway posts it. Pure.

What the document says is to be posted with it, and of the proposals that stand apart those of which SAP only does not
reckon the quantity itself: a purge, a start, and what comes back. What SAP reckons or a person issues is left out, and
so is what SAP posts with no confirmation: serialised material and what is made besides. It makes no goods receipt of
the product.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from gateway.connectors.base import MappingError
from gateway.connectors.mapping import words
from gateway.connectors.mapping.amounts import rounded, written
from gateway.connectors.sap_odata import edm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.connectors.sap_odata.render import RenderRules

MOVEMENTS_MAX: Final = 500
#: Kind of a component of the document to the movement type of SAP: issue, or return of an issue. What is made
#: besides SAP does not take with a confirmation: it is a proposal of its own.
MOVEMENT_TYPES: Final = {
    "pieces": "261",
    "fixed": "261",
    "startup": "261",
    "purge": "261",
    "return": "262",
}
_WITH_CONFIRMATION: Final = "confirmation"
_SEPARATE: Final = "separate"
#: Why a proposal stands apart although a goods movement of the confirmation says all of it.
_QUANTITY_ONLY: Final = frozenset({"startup", "purge", "return"})


def is_sent(component: Mapping[str, Any]) -> bool:
    """Whether a component of a document becomes a goods movement of its confirmation."""
    posting, why = component.get("posting"), component.get("separate")
    return posting == _WITH_CONFIRMATION or (posting == _SEPARATE and why in _QUANTITY_ONLY)


def movements(document: Mapping[str, Any], rules: RenderRules) -> list[dict[str, str]]:
    """A row for each lot of each component, and one for what has none. Raises MappingError."""
    components = document.get("components") or []
    if not isinstance(components, list) or not all(isinstance(one, dict) for one in components):
        raise MappingError(f"components: found {components!r}, allowed: a list of objects")
    rows: list[dict[str, str]] = []
    for number, one in enumerate(components):
        if not is_sent(one):
            continue
        where = f"components[{number}]"
        movement = MOVEMENT_TYPES.get(str(one.get("kind")))
        if movement is None:
            raise MappingError(f"{where}.kind: found {one.get('kind')!r}, allowed: {', '.join(MOVEMENT_TYPES)}")
        unit = words.unit(rules.mapping, {**document, "uom": one.get("uom")})
        for lot, pieces in _by_lot(one, where):
            quantity = rounded(pieces, rules.mapping.quantity_decimals)
            if not quantity:
                continue
            rows.append(
                {
                    "OrderID": str(document["order_id"]),
                    "Material": str(one.get("item") or ""),
                    "Plant": rules.plant,
                    **({"StorageLocation": rules.storage_location} if rules.storage_location else {}),
                    **({"Batch": lot} if lot else {}),
                    "GoodsMovementType": movement,
                    "EntryUnit": unit,
                    "QuantityInEntryUnit": written(quantity),
                }
            )
    if len(rows) > MOVEMENTS_MAX:
        raise MappingError(f"components: found {len(rows)} goods movements, allowed at most {MOVEMENTS_MAX}")
    return rows


def _by_lot(component: Mapping[str, Any], where: str) -> list[tuple[str, Decimal]]:
    whole = _quantity(component.get("qty"), f"{where}.qty")
    told = component.get("lots") or []
    lots = [(str(lot.get("lot") or ""), _quantity(lot.get("qty"), f"{where}.lots.qty")) for lot in told]
    left = whole - sum((quantity for _, quantity in lots), Decimal(0))
    return [*lots, ("", left)] if left > 0 else lots


def _quantity(value: Any, where: str) -> Decimal:
    number = edm.decimal_of(value)
    if number is None:
        raise MappingError(f"{where}: found {value!r}, allowed: a number")
    return abs(number)  # what is given back says so by its movement
