"""The fake Kingdee's bills, which it keeps besides the ledger, and ``ExecuteBillQuery`` over orders and bills.

Understands the few comparisons that a FilterString of a gateway may have; anything else is refused.
"""

from __future__ import annotations

import re
import time
import zlib
from typing import TYPE_CHECKING, Any, Final

from simulators.erp.checks import RefusedError

if TYPE_CHECKING:
    import sqlite3

    from simulators.erp.ledger import Ledger

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS kingdee_bills (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    number TEXT NOT NULL,
    "order" TEXT NOT NULL,
    content TEXT NOT NULL,
    status TEXT NOT NULL
) STRICT;
"""
ROWS_MAX: Final = 2000
#: 2026-01-01: a change is one second after the one before it.
FIRST_CHANGE_S: Final = 1_767_225_600
RELEASED, COMPLETED = "3", "5"
_COMPARED: Final = re.compile(r"\s*([\w.]+|1)\s*(=|>=|>|in)\s*(\([^)]*\)|'(?:[^']|'')*'|0)\s*")


class Bills:
    """Production reports: A made, B submitted, C audited, Z a draft. A number may be there twice."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._db = database
        self._db.executescript(SCHEMA)

    def all(self) -> list[dict[str, Any]]:
        """Every bill, oldest first."""
        return [dict(row) for row in self._db.execute("SELECT * FROM kingdee_bills ORDER BY id")]

    def find(self, wanted: str) -> dict[str, Any] | None:
        """The bill with an id."""
        return next((bill for bill in self.all() if str(bill["id"]) == wanted), None)

    def put(self, number: str, order: str, content: str, status: str, *, replaces: int | None = None) -> int:
        """Keep a bill, or give a draft its content; returns the id. Without a number it gets one."""
        if replaces is not None:
            self._db.execute(
                "UPDATE kingdee_bills SET number = ?, content = ?, status = ? WHERE id = ?",
                (number, content, status, replaces),
            )
            return replaces
        cursor = self._db.execute(
            'INSERT INTO kingdee_bills (number, "order", content, status) VALUES (?, ?, ?, ?)',
            (number, order, content, status),
        )
        made = int(cursor.lastrowid or 0)
        if not number:
            self._db.execute("UPDATE kingdee_bills SET number = ? WHERE id = ?", (f"MRPT{made:06d}", made))
        return made

    def set_status(self, bill: int, status: str) -> None:
        """Move a bill on."""
        self._db.execute("UPDATE kingdee_bills SET status = ? WHERE id = ?", (status, bill))


def entry_of(order: str, number: int) -> int:
    """The id of a bill's row, 0 for the bill itself."""
    return zlib.crc32(f"{order}/{number}".encode()) % 1_000_000 + 1


def order_rows(ledger: Ledger, data: dict[str, Any]) -> list[list[Any]]:
    """Rows of PRD_MO. Raises RefusedError."""
    rows = [
        _row(ledger, image, change, number)
        for image, change in ledger.images()
        for number in range(1, len(image["operations"]) + 1)
    ]
    rows.sort(key=lambda row: row["FModifyDate"])
    return _selected(rows, data)


def _row(ledger: Ledger, image: dict[str, Any], change: int, number: int) -> dict[str, Any]:
    """Each operation of the ledger's order is a row of its bill, as if each made a product of its own."""
    one = image["operations"][number - 1]
    done = any(sums["operation"] == one["op"] and sums["finals"] > 0 for sums in ledger.sums_of(image["order_id"]))
    return {
        "FBillNo": image["order_id"],
        "FTreeEntity_FSeq": number,
        "FMaterialId.FNumber": image["product"]["id"],
        "FUnitId.FNumber": image["product"].get("uom", "PC"),
        "FQty": float(one.get("qty", image["qty"])),
        "FWorkShopID.FNumber": one["work_center"],
        "FPlanStartDate": _local(image.get("planned_start")),
        "FPlanFinishDate": _local(image.get("planned_end")),
        "FModifyDate": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(FIRST_CHANGE_S + change)),
        "FTreeEntity_FEntryId": entry_of(image["order_id"], number),
        "FID": entry_of(image["order_id"], 0),
        "FStatus": COMPLETED if done else RELEASED,
        "FPrdOrgId.FNumber": "100",
    }


def bill_rows(bills: Bills, data: dict[str, Any]) -> list[list[Any]]:
    """Rows of PRD_MORPT. Raises RefusedError."""
    rows = [{"FBillNo": one["number"], "FID": one["id"], "FDocumentStatus": one["status"]} for one in bills.all()]
    return _selected(rows, data)


def _selected(rows: list[dict[str, Any]], data: dict[str, Any]) -> list[list[Any]]:
    fields = [name.strip() for name in str(data.get("FieldKeys", "")).split(",")]
    kept = [
        row for row in rows if all(_holds(row, one) for one in str(data.get("FilterString", "")).split(" and ") if one)
    ]
    start, limit = data.get("StartRow") or 0, data.get("Limit") or ROWS_MAX
    try:
        return [[row[name] for name in fields] for row in kept[start : start + min(limit, ROWS_MAX)]]
    except KeyError as error:
        raise RefusedError("FIELD", f"FieldKeys: there is no field {error}") from None


def _holds(row: dict[str, Any], comparison: str) -> bool:
    match = _COMPARED.fullmatch(comparison)
    if match is None:
        raise RefusedError("FILTER", f"FilterString: {comparison!r} is not understood")
    name, operator, wanted = match.groups()
    if name == "1":
        return False
    if name not in row:
        raise RefusedError("FIELD", f"FilterString: there is no field {name}")
    found = str(row[name])
    if operator == "in":
        return found in [one.strip().strip("'") for one in wanted[1:-1].split(",")]
    text = wanted[1:-1].replace("''", "'")
    return {"=": found == text, ">=": found >= text, ">": found > text}[operator]


def _local(written: object) -> str | None:
    """Kingdee writes no offset."""
    return str(written).removesuffix("Z") if written else None
