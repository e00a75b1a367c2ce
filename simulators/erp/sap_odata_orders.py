"""Orders of the ledger as SAP's entities: header, operations, components, item.

A test may put ``sap`` into the image of an order or of an operation: those fields go over what follows from the image.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from simulators.erp import sap_odata_forms as forms

PLANT: Final = "1010"
HEADER_FLAGS: Final = (
    "OrderIsCreated",
    "OrderIsReleased",
    "OrderIsPartiallyReleased",
    "OrderIsPartiallyConfirmed",
    "OrderIsConfirmed",
    "OrderIsPartiallyDelivered",
    "OrderIsDelivered",
    "OrderIsLocked",
    "OrderIsTechnicallyCompleted",
    "OrderIsClosed",
    "OrderIsDeleted",
    "OrderIsMarkedForDeletion",
)

Row = dict[str, Any]


def is_process(image: Row) -> bool:
    """Whether it is a process order: another service shows it."""
    return bool(image.get("sap", {}).get("ManufacturingOrderCategory") == "40")


def header(image: Row, stamp: str) -> Row:
    """The header of an order."""
    product, status = image.get("product", {}), image.get("status", "released")
    start, end = image.get("planned_start"), image.get("planned_end")
    row: Row = {
        "ManufacturingOrder": forms.outside(str(image["order_id"])),
        "ManufacturingOrderCategory": "10",
        "ManufacturingOrderType": "YBM1",
        "ManufacturingOrderImportance": "",
        "Material": product.get("id", ""),
        "ProductionPlant": PLANT,
        "Plant": PLANT,
        "MRPArea": PLANT,
        "ProductionVersion": product.get("revision", ""),
        "TotalQuantity": forms.decimal(image.get("qty", "0")),
        "ProductionUnit": product.get("uom", "PC"),
        "MfgOrderPlannedScrapQty": "0.000",
        "SalesOrder": str(image.get("sales_order", ""))[:10],
        "OrderSequenceNumber": str(image.get("sequence_no", "")),
        "LastChangeDateTime": stamp,
        **dict.fromkeys(HEADER_FLAGS, ""),
        "OrderIsCreated": forms.flag(status == "planned"),
        "OrderIsReleased": forms.flag(status != "planned"),
        "OrderIsTechnicallyCompleted": forms.flag(status == "closed"),
        "OrderIsDeleted": forms.flag(image.get("cancelled")),
    }
    for name, moment in (("MfgOrderScheduledStart", start), ("MfgOrderScheduledEnd", end)):
        row[f"{name}Date"] = forms.date(moment) if moment else None
        row[f"{name}Time"] = forms.time_of_day(moment) if moment else "PT00H00M00S"
    return row | dict(image.get("sap", {}))


def operations(image: Row) -> list[Row]:
    """Its operations."""
    status = image.get("status", "released")
    rows = []
    for number, one in enumerate(image["operations"], start=1):
        row = {
            "OrderInternalBillOfOperations": forms.outside(str(image["order_id"])),
            "OrderIntBillOfOperationsItem": str(number),
            "ManufacturingOrder": forms.outside(str(image["order_id"])),
            "ManufacturingOrderSequence": one.get("sequence", "0"),
            "ManufacturingOrderOperation": one["op"],
            "ManufacturingOrderSubOperation": "",
            "MfgOrderOperationText": one.get("text", ""),
            "WorkCenter": one["work_center"],
            "OperationControlProfile": "YBP1",
            "OpPlannedTotalQuantity": forms.decimal(one.get("qty", image.get("qty", "0"))),
            "OperationUnit": image.get("product", {}).get("uom", "PC"),
            "OperationIsReleased": forms.flag(status != "planned"),
            "OperationIsConfirmed": "",
            "OperationIsDeleted": "",
        }
        rows.append(row | one.get("sap", {}))
    return rows


def components(image: Row) -> list[Row]:
    """Its components: the quantity of the whole order."""
    rows = []
    for number, one in enumerate(image.get("components", []), start=1):
        needed = Decimal(str(one["qty_per"])) * (1 if one.get("fixed") else Decimal(str(image["qty"])))
        row = {
            "Reservation": forms.outside(str(image["order_id"])),
            "ReservationItem": str(number),
            "ManufacturingOrder": forms.outside(str(image["order_id"])),
            "ManufacturingOrderSequence": "0",
            "ManufacturingOrderOperation": one.get("op", image["operations"][0]["op"]),
            "Material": one["item"],
            "RequiredQuantity": forms.decimal(needed),
            "WithdrawnQuantity": "0.000",
            "BaseUnit": one.get("uom", "PC"),
            "QuantityIsFixed": bool(one.get("fixed")),
            "MatlCompIsMarkedForBackflush": forms.flag(one.get("flush_method", "backflush") != "manual"),
            "IsBulkMaterialComponent": "",
            "GoodsMovementType": "261",
        }
        rows.append(row | one.get("sap", {}))
    return rows


def items(image: Row) -> list[Row]:
    """Its item with the tolerances."""
    row: Row = {
        "ManufacturingOrder": forms.outside(str(image["order_id"])),
        "ManufacturingOrderItem": "1",
        "UnlimitedOverdeliveryIsAllowed": "" if image.get("over_tolerance_pct") is not None else "X",
    }
    for name, key in (
        ("OverdelivTolrtdLmtRatioInPct", "over_tolerance_pct"),
        ("UnderdelivTolrtdLmtRatioInPct", "under_tolerance_pct"),
    ):
        if image.get(key) is not None:
            row[name] = str(image[key])
    return [row]
