"""Whether the database keeps its promises: each promise of the schema and of the steps, looked at row by row.

Reads only, one state of the file for each check, and never holds more than a few rows: a gateway that runs is not held
up. It repairs nothing and judges nobody; the audit trail has its own rules (``audit_chain.py``).
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Final, NamedTuple

from buffer import schema
from buffer.errors import StoreError

if TYPE_CHECKING:
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
    with _open(path) as connection:
        yield _sound(connection, quick=quick)


@contextlib.contextmanager
def _open(path: Path) -> Iterator[sqlite3.Connection]:
    if not path.is_file():
        raise StoreError(f"{path}: there is no database; the gateway makes it at its first start")
    try:
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: cannot be opened: {error}; are you allowed to read it?") from error
    with contextlib.closing(connection):
        try:
            connection.execute(f"PRAGMA busy_timeout={schema.BUSY_TIMEOUT_MS}")
            connection.execute("PRAGMA query_only=ON")
            yield connection
        except sqlite3.Error as error:
            raise StoreError(f"{path}: cannot be read: {error}; are you allowed to read its folder?") from error


def _sound(connection: sqlite3.Connection, *, quick: bool) -> Checked:
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    name = "quick_check" if quick else "integrity_check"
    told = [str(text) for (text,) in connection.execute(f"PRAGMA {name}({TOLD_MAX})") if text != "ok"]
    return Checked(f"SQLite {name}", pages, len(told), tuple(told))
