"""What must be right in a confirmation to this fake SAP before any order is asked, and how its row looks afterwards.

Knows no order: release, tolerance and period are asked for elsewhere.
"""

from __future__ import annotations

import re
from typing import Any, Final

from simulators.erp import sap_odata_forms as forms
from simulators.erp.checks import RefusedError

Row = dict[str, Any]

#: Property to its longest text.
TEXTS: Final = {
    "OrderID": 12,
    "Sequence": 6,
    "OrderOperation": 4,
    "OrderSuboperation": 4,
    "FinalConfirmationType": 1,
    "ConfirmationUnit": 3,
    "ConfirmationUnitISOCode": 3,
    "VarianceReasonCode": 4,
    "Plant": 4,
    "WorkCenter": 8,
    "Personnel": 8,
    "EnteredByExternalUser": 12,
    "ConfirmationText": 40,
    **{f"OpWorkQuantityUnit{slot}": 3 for slot in range(1, 7)},
}
QUANTITIES: Final = (
    "ConfirmationYieldQuantity",
    "ConfirmationScrapQuantity",
    "ConfirmationReworkQuantity",
    *(f"OpConfirmedWorkQuantity{slot}" for slot in range(1, 7)),
)
FLAGS: Final = ("IsFinalConfirmation", "OpenReservationsIsCleared", "APIConfHasNoGoodsMovements")
MOMENTS: Final = {
    "PostingDate": r"/Date\(-?\d+\)/",
    "ConfirmedExecutionStartDate": r"/Date\(-?\d+\)/",
    "ConfirmedExecutionStartTime": r"PT\d\dH\d\dM\d\dS",
    "ConfirmedExecutionEndDate": r"/Date\(-?\d+\)/",
    "ConfirmedExecutionEndTime": r"PT\d\dH\d\dM\d\dS",
}
GUID: Final = "ExternalSystemConfirmation"
_GUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_QUANTITY: Final = re.compile(r"\d{1,10}(\.\d{1,3})?")
MOVEMENT: Final = frozenset(
    {
        "OrderID",
        "Material",
        "Plant",
        "StorageLocation",
        "Batch",
        "GoodsMovementType",
        "EntryUnit",
        "QuantityInEntryUnit",
    }
)


def checked(body: Row, movements: str) -> Row:
    """The fields of a message as they came. Raises RefusedError."""
    known = {*TEXTS, *QUANTITIES, *FLAGS, *MOMENTS, GUID, movements}
    unknown = sorted(set(body) - known)
    if unknown:
        raise RefusedError("/IWBEP/CM_MGW_RT/021", f"Property {unknown[0]} is invalid", 400)
    for name, value in body.items():
        if name != movements and not _is_allowed(name, value):
            raise RefusedError(forms.BAD_VALUE, f"{name}: {value!r} is no value of this property", 400)
    _in_time(body)
    for row in body.get(movements, []):
        if set(row) - MOVEMENT or not _QUANTITY.fullmatch(str(row.get("QuantityInEntryUnit"))):
            raise RefusedError(forms.BAD_VALUE, f"{movements}: {row!r} is no goods movement", 400)
    return body


def _is_allowed(name: str, value: object) -> bool:
    if name in FLAGS:
        return isinstance(value, bool)
    if not isinstance(value, str):
        return False
    if name in TEXTS:
        return len(value.encode("utf-16-le")) // 2 <= TEXTS[name]
    if name in QUANTITIES:
        return _QUANTITY.fullmatch(value) is not None
    return re.fullmatch(MOMENTS.get(name, _GUID.pattern), value) is not None


def _in_time(body: Row) -> None:
    """SAP refuses an execution that ends before it starts."""
    moments = []
    for end in ("Start", "End"):
        day, time = (body.get(f"ConfirmedExecution{end}{part}") for part in ("Date", "Time"))
        if day and time:
            moments.append((forms.day_of(day), time))
    if len(moments) == 2 and moments[0] > moments[1]:  # noqa: PLR2004 - start and end
        raise RefusedError(forms.BAD_VALUE, "the execution ends before it starts", 400)


def shown_row(fields: Row) -> Row:
    """The row of a confirmation, every property of it; decimals as texts with three decimals."""
    row: Row = {name: fields.get(name, "") for name in TEXTS}
    row |= {name: forms.decimal(fields.get(name) or "0") for name in QUANTITIES}
    row |= {name: fields.get(name, False) for name in FLAGS}
    row |= {name: fields.get(name) for name in MOMENTS}
    row["OrderID"] = forms.outside(row["OrderID"])
    row[GUID] = fields.get(GUID) or "00000000-0000-0000-0000-000000000000"
    return row
