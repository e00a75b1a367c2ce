"""Whether the database keeps its promises: each promise of the schema and of the steps, looked at row by row.

Reads only, one state of the file for each check, and never holds more than a few rows: a gateway that runs is not held
up. It repairs nothing and judges nobody; the audit trail has its own rules (``audit_chain.py``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from buffer.readonly import reading

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator
    from pathlib import Path

#: Defects of one check that are told; of more only the number.
TOLD_MAX: Final = 20


class Checked(NamedTuple):
    """One check: how many rows it looked at, how many defects it found, and the first ``TOLD_MAX`` of them."""

    name: str
    looked_at: int
    defects: int
    told: tuple[str, ...]


def verified(path: Path, *, quick: bool = False) -> Iterator[Checked]:
    """Each check in turn. Raises StoreError where the file cannot be read."""
    with reading(path) as connection:
        yield _sound(connection, quick=quick)


def _sound(connection: sqlite3.Connection, *, quick: bool) -> Checked:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    name = "quick_check" if quick else "integrity_check"
    told = [str(text) for (text,) in connection.execute(f"PRAGMA {name}({TOLD_MAX})") if text != "ok"]
    return Checked(f"SQLite {name}", pages, len(told), tuple(told))
