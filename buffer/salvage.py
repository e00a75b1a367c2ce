"""Reads out of a damaged database what can still be read: confirmations that were not sent, and last numbers.

Row by row: one spoiled page hides what stands on it and nothing else. The table is read by ranges of numbers, halved
where one fails; what its own page does not give any more is looked for in both indexes, which know key, order,
operation and number, but no state and no content. It writes nothing, and says what it could not read.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Rows that are asked for at once as long as nothing fails.
ROWS_AT_ONCE: Final = 500
#: Looked for beyond the highest number that is known, where even that may be unreadable.
IDS_MAX: Final = 100_000_000
#: What books nothing has numbers of its own.
_BESIDE: Final = frozenset({"ack", "notice"})
OVER: Final = frozenset({"posted", "delivered", "superseded", "voided"})

_ROWS: Final = "SELECT id, target, key, order_id, operation, seq, kind, state, payload, created_ns FROM outbox WHERE"
_RANGE: Final = f"{_ROWS} id BETWEEN ? AND ? ORDER BY id"
#: A range ends only where SQLite has seen the row behind it, and that one may stand on a spoiled page.
_ONE: Final = f"{_ROWS} id = ?"
_HIGHEST: Final = (
    "SELECT seq FROM sqlite_sequence WHERE name = 'outbox'",
    "SELECT max(id) FROM outbox",
    "SELECT sum(postings) FROM outbox_tally",
)
#: Both indexes hold the number of the row besides their own columns, so the table is not touched.
_KEYS: Final = "SELECT id, target, key FROM outbox INDEXED BY sqlite_autoindex_outbox_1 ORDER BY target {0}, key {0}"
_PLACES: Final = """
    SELECT id, target, order_id, operation, seq FROM outbox INDEXED BY sqlite_autoindex_outbox_2
    ORDER BY target {0}, order_id {0}, operation {0}, seq {0}
"""
_NUMBERS: Final = {
    table: (f"SELECT order_id, operation, {seq} FROM {table} ORDER BY order_id {{0}}, operation {{0}}")  # noqa: S608 - constants
    for table, seq in (("job", "json_extract(CAST(record AS TEXT), '$.seq')"), ("job_number", "seq"))
}


_STEPS: Final = """
    SELECT posting, step, name, sent_ns, settled_ns, outcome, accepted, reference FROM outbox_steps
    ORDER BY posting {0}, step {0}
"""


class SalvagedStep(NamedTuple):
    """One of several messages of a confirmation: what is booked of it already must not be booked by hand again.

    ``outcome``: posted, delivered, or "" while it is not over; ``sent_ns`` None: it surely never left.
    """

    step: int
    name: str | None
    sent_ns: int | None
    settled_ns: int | None
    outcome: str
    accepted: str
    reference: str


class Salvaged(NamedTuple):
    """One confirmation. Where only an index knew of it, ``state`` is "" and ``payload`` None; "" or 0 is unknown."""

    id: int
    target: str
    key: str
    order: str
    operation: str
    seq: int
    kind: str = ""
    state: str = ""
    payload: bytes | None = None
    created_ns: int = 0
    steps: tuple[SalvagedStep, ...] = ()


class Found(NamedTuple):
    """All that could be read.

    ``unsent``: what is not over, or nobody knows whether it is. ``numbers``: the highest number of each order and
    operation that was seen anywhere. ``unread``: what could not be read, in words. ``sent``: how many are over.
    """

    unsent: tuple[Salvaged, ...]
    numbers: dict[tuple[str, str], int]
    unread: tuple[str, ...]
    sent: int


def salvage(path: Path) -> Found:
    """Read all that there is. Raises StoreError where it is no database, or not even its tables are known any more."""
    if not path.is_file():
        raise StoreError(f"{path}: there is no such file; name the damaged database")
    try:
        connection = opened(path)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be read at all: {error}; only its raw bytes are left") from error
    with contextlib.closing(connection):
        unread: list[str] = []
        places = {row[0]: row for row in _both_ways(connection, _PLACES, "index of orders and numbers", unread)}
        keys = {row[0]: row for row in _both_ways(connection, _KEYS, "index of keys", unread)}
        highest = max(_highest(connection), max(places, default=0), max(keys, default=0))
        rows = {row[0]: Salvaged(*row) for row in _by_ranges(connection, highest, unread)}
        for number in sorted((places.keys() | keys.keys()) - rows.keys()):
            _, target, order, operation, seq = places.get(number, (number, "", "", "", 0))
            _, of_key, key = keys.get(number, (number, target, ""))
            rows[number] = Salvaged(number, target or of_key, key, order, operation, seq)
        numbers: dict[tuple[str, str], int] = {}
        seen = [(one.order, one.operation, one.seq) for one in rows.values() if one.order and one.kind not in _BESIDE]
        steps = _steps(connection, unread)
        rows = {number: one._replace(steps=steps.get(number, ())) for number, one in rows.items()}
        for name, sql in _NUMBERS.items():
            seen += _both_ways(connection, sql, f"table {name}", unread)
        for order, operation, seq in seen:
            numbers[order, operation] = max(numbers.get((order, operation), 0), seq or 0)
    unsent = tuple(one for _, one in sorted(rows.items()) if one.state not in OVER)
    return Found(unsent, numbers, tuple(unread), len(rows) - len(unsent))


def document(one: Salvaged) -> dict[str, Any]:
    """As a person reads it: quantities from its content; ``content`` is None where it is gone, or no JSON."""
    content: Any = None
    with contextlib.suppress(ValueError):
        content = None if one.payload is None else json.loads(one.payload)
    quantities = content.get("qty") if isinstance(content, dict) else None
    qty = quantities if isinstance(quantities, dict) else {}
    return {
        **{name: value for name, value in one._asdict().items() if name not in {"payload", "steps"}},
        "state": one.state or "unknown",
        "good": qty.get("good"),
        "scrap": qty.get("scrap"),
        "content": content,
        "steps": [step._asdict() for step in one.steps],
    }


def opened(path: Path) -> sqlite3.Connection:
    """A damaged database, for reading only. Raises sqlite3.Error where not even its tables are known."""
    error: sqlite3.Error | None = None
    # Without rights to write beside it, its log cannot be read along: better without than not at all.
    for options in ("mode=ro", "mode=ro&immutable=1"):
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?{options}", uri=True, isolation_level=None)
        try:
            connection.execute("PRAGMA query_only=ON")
            # Where the list of the tables is spoiled, too, SQLite goes on with those that it could read; the statement
            # that finds it out fails all the same.
            connection.execute("PRAGMA writable_schema=ON")
            with contextlib.suppress(sqlite3.Error):
                connection.execute("SELECT 1 FROM outbox WHERE 0").fetchall()
            connection.execute("SELECT 1 FROM outbox WHERE 0").fetchall()
        except sqlite3.Error as found:
            connection.close()
            error = found
        else:
            return connection
    assert error is not None, "the last try returns or fails"
    raise error


def _highest(connection: sqlite3.Connection) -> int:
    found = [0]
    for sql in _HIGHEST:
        with contextlib.suppress(sqlite3.Error):
            found += [int(row[0]) for row in connection.execute(sql) if row[0] is not None]
    return min(max(found), IDS_MAX)


def _steps(connection: sqlite3.Connection, unread: list[str]) -> dict[int, tuple[SalvagedStep, ...]]:
    """The steps of each posting that has some; a database from before there were steps has none."""
    with contextlib.suppress(sqlite3.Error):
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'outbox_steps'").fetchall():
            return {}
    found: dict[int, list[SalvagedStep]] = {}
    for posting, *of_step in sorted(_both_ways(connection, _STEPS, "table outbox_steps", unread), key=lambda r: r[:2]):
        found.setdefault(posting, []).append(SalvagedStep(*of_step))
    return {posting: tuple(steps) for posting, steps in found.items()}


def _by_ranges(connection: sqlite3.Connection, highest: int, unread: list[str]) -> Iterator[tuple[Any, ...]]:
    """Every row that can be read; numbers that nobody ever used are no loss, and not told apart from lost ones here."""
    waiting = [(low, min(low + ROWS_AT_ONCE - 1, highest)) for low in range(1, highest + 1, ROWS_AT_ONCE)][::-1]
    first, last = 0, -1
    while waiting:
        low, high = waiting.pop()
        try:
            asked = (_ONE, (low,)) if low == high else (_RANGE, (low, high))
            yield from connection.execute(*asked).fetchall()
        except sqlite3.Error:
            if low < high:
                middle = (low + high) // 2
                waiting += [(middle + 1, high), (low, middle)]
            elif low == last + 1:
                last = low
            else:
                _tell_range(first, last, unread)
                first = last = low
    _tell_range(first, last, unread)


def _tell_range(first: int, last: int, unread: list[str]) -> None:
    if last > 0:
        unread.append(f"outbox, numbers {first} to {last}: their pages are spoiled")


def _both_ways(connection: sqlite3.Connection, sql: str, what: str, unread: list[str]) -> list[tuple[Any, ...]]:
    """Rows in their order up to where it fails, and from the other end up to where that fails."""
    found: dict[tuple[Any, ...], None] = {}
    for direction in ("ASC", "DESC"):
        try:
            for row in connection.execute(sql.format(direction)):
                found[row] = None
        except sqlite3.Error as error:
            if direction == "DESC":
                unread.append(f"{what}: something in the middle of it: {error}")
        else:
            break
    return list(found)
