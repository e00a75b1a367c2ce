"""The confirmations of this fake SAP, row by row, beside the ledger: what OData shows of them, which are void.

Books what it is told. They stand in the ledger's file, so that they survive with it.
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final

from simulators.control import SimulatorError
from simulators.erp import sap_odata_forms as forms

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS sap_groups (grp INTEGER PRIMARY KEY AUTOINCREMENT, place TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS sap_confirmations (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    grp INTEGER NOT NULL,
    cnt INTEGER NOT NULL,
    process INTEGER NOT NULL,
    guid TEXT NOT NULL,
    reversed INTEGER NOT NULL DEFAULT 0,
    reverses INTEGER,
    row TEXT NOT NULL,
    UNIQUE (grp, cnt)
) STRICT;
CREATE INDEX IF NOT EXISTS sap_confirmations_guid ON sap_confirmations (guid);
CREATE TABLE IF NOT EXISTS sap_stamps (order_id TEXT PRIMARY KEY, digest TEXT NOT NULL, stamp TEXT NOT NULL) STRICT;
"""
Row = dict[str, Any]


class Book:
    """Confirmations by group and count. Raises SimulatorError if the file cannot be used."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.executescript(SCHEMA)
        except sqlite3.Error as error:
            raise SimulatorError(f"--ledger {path}: {error}; name a new file, or one this simulator made") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def add(self, place: str, guid: str, row: Row, *, process: bool, reverses: int | None = None) -> tuple[int, int]:
        """Keep a confirmation of a place (order, sequence, operation); returns group and count."""
        self._db.execute("INSERT INTO sap_groups (place) VALUES (?) ON CONFLICT DO NOTHING", (place,))
        group = int(self._db.execute("SELECT grp FROM sap_groups WHERE place = ?", (place,)).fetchone()["grp"])
        found = self._db.execute("SELECT count(*) AS n FROM sap_confirmations WHERE grp = ?", (group,)).fetchone()
        count = int(found["n"]) + 1
        self._db.execute(
            "INSERT INTO sap_confirmations (grp, cnt, process, guid, reverses, row) VALUES (?, ?, ?, ?, ?, ?)",
            (group, count, int(process), guid, reverses, json.dumps(row)),
        )
        return group, count

    def take_back(self, number: int) -> None:
        """Mark a confirmation as taken back."""
        self._db.execute("UPDATE sap_confirmations SET reversed = 1 WHERE id = ?", (number,))

    def find(self, group: str, count: str) -> tuple[int, Row] | None:
        """Number and row of a confirmation."""
        if not (group.strip("0").isdecimal() and count.strip("0").isdecimal()):
            return None
        found = self._db.execute(
            "SELECT * FROM sap_confirmations WHERE grp = ? AND cnt = ?", (int(group), int(count))
        ).fetchone()
        return (found["id"], _shown(found)) if found else None

    def of_guid(self, guid: str) -> list[tuple[int, Row]]:
        """Numbers and rows of the confirmations of a GUID."""
        found = self._db.execute("SELECT * FROM sap_confirmations WHERE guid = ? ORDER BY id", (guid,))
        return [(row["id"], _shown(row)) for row in found]

    def forget(self, guid: str) -> None:
        """Lose the confirmations of a GUID, as a restored backup does."""
        self._db.execute("DELETE FROM sap_confirmations WHERE guid = ?", (guid,))

    def later_of(self, number: int) -> bool:
        """Whether a younger confirmation of its group still counts."""
        found = self._db.execute(
            "SELECT 1 FROM sap_confirmations AS one JOIN sap_confirmations AS other ON other.grp = one.grp"
            " WHERE one.id = ? AND other.id > one.id AND NOT other.reversed AND other.reverses IS NULL",
            (number,),
        ).fetchone()
        return found is not None

    def rows(self, *, process: bool) -> list[Row]:
        """All confirmations of production or of process orders, oldest first."""
        found = self._db.execute("SELECT * FROM sap_confirmations WHERE process = ? ORDER BY id", (int(process),))
        return [_shown(row) for row in found]

    def stamp_of(self, order: str, digest: str) -> str:
        """When this state of an order was first seen: the stamp of its last change."""
        found = self._db.execute("SELECT digest, stamp FROM sap_stamps WHERE order_id = ?", (order,)).fetchone()
        if found is not None and found["digest"] == digest:
            return str(found["stamp"])
        stamp = forms.stamp()
        self._db.execute(
            "INSERT INTO sap_stamps VALUES (?, ?, ?) ON CONFLICT (order_id) DO UPDATE SET digest = excluded.digest,"
            " stamp = excluded.stamp",
            (order, digest, stamp),
        )
        return stamp


def _shown(found: sqlite3.Row) -> Row:
    row: Row = json.loads(found["row"])
    return {
        "ConfirmationGroup": str(found["grp"]),
        "ConfirmationCount": str(found["cnt"]),
        **row,
        "IsReversed": bool(found["reversed"]),
        "IsReversal": found["reverses"] is not None,
    }
