"""What the fake ERP has booked and released, in SQLite: it survives the end of the process.

Books what it is told, also twice; whether it should is decided elsewhere.
"""

from __future__ import annotations

import json
import sqlite3
import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from simulators.control import SimulatorError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS bookings (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL,
    "order" TEXT NOT NULL,
    operation TEXT NOT NULL,
    seq INTEGER NOT NULL,
    work_center TEXT NOT NULL,
    machine TEXT NOT NULL,
    good INTEGER NOT NULL,
    scrap INTEGER NOT NULL,
    rework INTEGER NOT NULL,
    final INTEGER NOT NULL,
    t_ns INTEGER NOT NULL,
    digest TEXT NOT NULL,
    reverses TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX IF NOT EXISTS bookings_key ON bookings (key);
CREATE INDEX IF NOT EXISTS bookings_order ON bookings ("order", operation);
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY,
    order_id TEXT NOT NULL,
    answer TEXT NOT NULL,
    document TEXT NOT NULL,
    received INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS notices (
    key TEXT PRIMARY KEY,
    document TEXT NOT NULL,
    received INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    order_id TEXT PRIMARY KEY,
    change INTEGER NOT NULL UNIQUE,
    revision INTEGER NOT NULL,
    kind TEXT NOT NULL,
    image TEXT NOT NULL,
    finished INTEGER NOT NULL DEFAULT 0
) STRICT;
"""
#: Most orders in one answer; the rest follows with the next cursor.
PAGE: Final = 100
KEY_PARTS: Final = 5


class Booking(NamedTuple):
    """One confirmation, checked and ready to be booked; ``digest`` is the SHA-256 of the exact bytes.

    A reversal names the key that it takes back in ``reverses``; its quantities are below 0, and so is ``final`` where
    it takes back a final one.
    """

    key: str
    order: str
    operation: str
    seq: int
    work_center: str
    machine: str
    good: int
    scrap: int
    rework: int
    final: int
    digest: str
    reverses: str = ""


class Ledger:
    """Bookings and released orders. Raises SimulatorError if the file cannot be used."""

    def __init__(self, path: Path | None) -> None:
        try:
            self._db = sqlite3.connect(path or ":memory:", isolation_level=None)
            self._db.row_factory = sqlite3.Row
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.executescript(SCHEMA)
            if "reverses" not in {row["name"] for row in self._db.execute("PRAGMA table_info(bookings)")}:
                self._db.execute("ALTER TABLE bookings ADD COLUMN reverses TEXT NOT NULL DEFAULT ''")
        except sqlite3.Error as error:
            raise SimulatorError(f"--ledger {path}: {error}; name a new file, or one this simulator made") from error

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def book(self, booking: Booking) -> str:
        """Book once more, whatever was booked before; returns the reference."""
        columns = ", ".join(f'"{name}"' for name in (*Booking._fields, "t_ns"))
        marks = ", ".join("?" * (len(Booking._fields) + 1))
        cursor = self._db.execute(
            f"INSERT INTO bookings ({columns}) VALUES ({marks})",  # noqa: S608 - column names of our own
            (*booking, time.time_ns()),
        )
        if booking.final > 0:
            self._finish(booking.order)
        elif booking.final < 0:
            self._db.execute("UPDATE orders SET finished = 0 WHERE order_id = ?", (booking.order,))
        return _reference(cursor.lastrowid)

    def find(self, key: str) -> tuple[str, str, int] | None:
        """Reference and digest of the first booking of a key, and how often it is booked; None if never."""
        rows = self._db.execute("SELECT id, digest FROM bookings WHERE key = ? ORDER BY id", (key,)).fetchall()
        return (_reference(rows[0]["id"]), rows[0]["digest"], len(rows)) if rows else None

    def reversible(self, key: str, order: str, operation: str) -> bool | None:
        """Whether that booking is a final one; None where there is none, or it was taken back before."""
        rows = self._db.execute(
            "SELECT final FROM bookings WHERE key = ? AND \"order\" = ? AND operation = ? AND reverses = ''"
            " AND NOT EXISTS (SELECT 1 FROM bookings AS other WHERE other.reverses = bookings.key)",
            (key, order, operation),
        ).fetchall()
        return bool(rows[0]["final"]) if rows else None

    def bookings(self) -> list[dict[str, Any]]:
        """Everything booked, in the order of booking."""
        rows = self._db.execute("SELECT * FROM bookings ORDER BY id")
        return [
            {"reference": _reference(row["id"]), **{name: row[name] for name in row.keys() if name != "id"}}  # noqa: SIM118 - a Row iterates over values
            | {"final": row["final"] > 0}
            for row in rows
        ]

    @property
    def database(self) -> sqlite3.Connection:
        """For what a double keeps besides; tables of its own, named after it."""
        return self._db

    def images(self) -> list[tuple[dict[str, Any], int]]:
        """The image of every order that is not finished, and its change number."""
        rows = self._db.execute("SELECT image, change FROM orders WHERE NOT finished ORDER BY change")
        return [(json.loads(row["image"]), row["change"]) for row in rows]

    def sums_of(self, order: str) -> list[dict[str, Any]]:
        """Sums of one order by operation."""
        rows = self._db.execute(
            "SELECT operation, sum(good) AS good, sum(scrap) AS scrap, sum(rework) AS rework, sum(final) AS finals"
            ' FROM bookings WHERE "order" = ? GROUP BY operation ORDER BY operation',
            (order,),
        )
        return [dict(row) for row in rows]

    def sums(self) -> list[dict[str, Any]]:
        """Per order and operation: sums, and how many bookings and different keys they come from."""
        rows = self._db.execute(
            'SELECT "order", operation, work_center, sum(good) AS good, sum(scrap) AS scrap, sum(rework) AS rework,'
            " count(*) AS bookings, count(DISTINCT key) AS keys, sum(final) AS finals"
            ' FROM bookings GROUP BY "order", operation ORDER BY "order", operation'
        )
        return [dict(row) for row in rows]

    def totals(self, order: str) -> list[dict[str, Any]]:
        """What is booked of each operation of an order, and the highest number of each epoch in its keys."""
        rows = [row for row in self.sums() if row["order"] == order]
        found = []
        for row in rows:
            keys = self._db.execute(
                'SELECT key, seq FROM bookings WHERE "order" = ? AND operation = ?', (order, row["operation"])
            ).fetchall()
            highest: dict[str, int] = {}
            for key, seq in keys:
                parts = key.split("/")
                if len(parts) == KEY_PARTS:  # plant, epoch, order, operation, number; what a person posted has none
                    highest[parts[1]] = max(seq, highest.get(parts[1], 0))
            sums = {name: str(row[name]) for name in ("good", "scrap", "rework")}
            epochs = [{"epoch": epoch, "seq": seq} for epoch, seq in sorted(highest.items())]
            found.append({"op": row["operation"], **sums, "highest": epochs})
        return found

    def forget(self, key: str) -> int:
        """Lose the bookings of a key, as a restored backup does; returns how many."""
        return self._db.execute("DELETE FROM bookings WHERE key = ?", (key,)).rowcount

    def take_answer(self, key: str, order: str, answer: str, document: str) -> bool:
        """Keep the answer to an order; False: this key was there already."""
        row = self._db.execute(
            "INSERT INTO answers (key, order_id, answer, document, received) VALUES (?, ?, ?, ?, 1)"
            " ON CONFLICT (key) DO UPDATE SET received = received + 1 RETURNING received",
            (key, order, answer, document),
        ).fetchone()
        return int(row["received"]) == 1

    def answers(self) -> list[dict[str, Any]]:
        """Answers to orders in the order in which they came, and how often each came."""
        rows = self._db.execute("SELECT * FROM answers ORDER BY rowid")
        return [{**json.loads(row["document"]), "received": row["received"]} for row in rows]

    def take_notice(self, key: str, document: str) -> bool:
        """Keep a notice; False: this key was there already. Raises ValueError where it said something else then."""
        row = self._db.execute(
            "INSERT INTO notices (key, document, received) VALUES (?, ?, 1)"
            " ON CONFLICT (key) DO UPDATE SET received = received + 1 RETURNING document, received",
            (key, document),
        ).fetchone()
        if row["document"] != document:
            raise ValueError(key)
        return int(row["received"]) == 1

    def notices(self) -> list[dict[str, Any]]:
        """Notices in the order in which they came, and how often each came."""
        rows = self._db.execute("SELECT * FROM notices ORDER BY rowid")
        return [{**json.loads(row["document"]), "received": row["received"]} for row in rows]

    def image(self, order: str) -> tuple[dict[str, Any], int] | None:
        """The image of an order and its change number; None if there is no such order."""
        row = self._db.execute("SELECT image, change FROM orders WHERE order_id = ?", (order,)).fetchone()
        return (json.loads(row["image"]), row["change"]) if row else None

    def put(self, image: Mapping[str, Any], *, kind: str = "") -> int:
        """Release an order or replace its image; returns the change number."""
        row = self._db.execute(
            "INSERT INTO orders (order_id, change, revision, kind, image)"
            " VALUES (?, (SELECT coalesce(max(change), 0) + 1 FROM orders), ?, ?, ?)"
            " ON CONFLICT (order_id) DO UPDATE SET change = excluded.change, revision = excluded.revision,"
            " image = excluded.image, finished = 0 RETURNING change",
            (image["order_id"], image["revision"], kind, json.dumps(image)),
        ).fetchone()
        return int(row["change"])

    def changes(self, since: int) -> tuple[int, list[dict[str, Any]]]:
        """Images of orders changed after a change number and not finished, oldest change first, and the new number.

        A number from the future belongs to a ledger that is gone: everything is delivered again.
        """
        newest = self._db.execute("SELECT coalesce(max(change), 0) AS newest FROM orders").fetchone()["newest"]
        since = 0 if since > newest else since
        rows = self._db.execute(
            "SELECT change, image FROM orders WHERE change > ? AND NOT finished ORDER BY change LIMIT ?", (since, PAGE)
        ).fetchall()
        return (rows[-1]["change"] if rows else since, [json.loads(row["image"]) for row in rows])

    def all_orders(self) -> list[dict[str, Any]]:
        """Images of all orders, oldest change first."""
        return [json.loads(row["image"]) for row in self._db.execute("SELECT image FROM orders ORDER BY change")]

    def finished(self, order: str) -> bool:
        """Whether all operations of an order are confirmed as final."""
        row = self._db.execute("SELECT finished FROM orders WHERE order_id = ?", (order,)).fetchone()
        return row is not None and bool(row["finished"])

    def count(self, kind: str) -> int:
        """How many orders of a kind were ever released."""
        row = self._db.execute("SELECT count(*) AS n FROM orders WHERE kind = ?", (kind,)).fetchone()
        return int(row["n"])

    def open_orders(self, kind: str, operation: str) -> int:
        """How many orders of a kind wait for the final confirmation of an operation."""
        row = self._db.execute(
            "SELECT count(*) AS n FROM orders WHERE kind = ? AND NOT finished AND NOT EXISTS (SELECT 1 FROM bookings"
            ' WHERE bookings."order" = orders.order_id AND bookings.operation = ? AND bookings.final > 0)',
            (kind, operation),
        ).fetchone()
        return int(row["n"])

    def _finish(self, order: str) -> None:
        found = self.image(order)
        if found is None:
            return
        finals = self._db.execute(
            'SELECT operation FROM bookings WHERE "order" = ? GROUP BY operation HAVING sum(final) > 0', (order,)
        )
        done = {row["operation"] for row in finals}
        if all(one["op"] in done for one in found[0]["operations"]):
            self._db.execute("UPDATE orders SET finished = 1 WHERE order_id = ?", (order,))


def _reference(number: int | None) -> str:
    return f"CNF-{number:06d}"
