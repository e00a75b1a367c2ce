"""What a database that was set aside still says of the line: its last states, and from when on nothing is known.

Each thing is asked for by itself: one spoiled page hides what stands on it and no more. Changes nothing in the file,
and decides nothing. Confirmations are ``salvage.py``'s business.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from buffer import packing
from buffer.mark import Mark
from buffer.salvage import OVER, opened

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

#: The newest confirmations, among which the last one of each work unit is looked for.
CONFIRMATIONS_READ_MAX: Final = 200

_STATE: Final = "SELECT snapshot FROM work_unit WHERE id = ?"
_OFFSET: Final = "SELECT offset_ns FROM clock"
_TALLY: Final = "SELECT state, sum(postings) FROM outbox_tally GROUP BY state"
_NEWEST: Final = "SELECT payload, created_ns FROM outbox WHERE kind NOT IN ('ack', 'notice') ORDER BY id DESC LIMIT ?"


class Remains(NamedTuple):
    """What could be read. Times are steady ones of the lost database.

    ``states``: the last committed state of each work unit. ``confirmed_ns``: when the last confirmation of each was
    made, of those that were read. ``offset_ns``: UTC minus steady time, None where it is gone. ``written_ns``: when its
    files were changed last, in UTC; 0 where even they are gone.
    """

    states: dict[str, bytes]
    confirmed_ns: dict[str, int]
    offset_ns: int | None
    written_ns: int


def read(path: Path, work_units: Sequence[str]) -> Remains:
    """What is left of these work units. Never raises: what cannot be read is not there."""
    written_ns = max(_changed_ns(path), _changed_ns(path.with_name(f"{path.name}-wal")))
    try:
        connection = opened(path)
    except (sqlite3.Error, OSError):
        return Remains({}, {}, None, written_ns)
    with contextlib.closing(connection):
        states: dict[str, bytes] = {}
        for unit in work_units:
            with contextlib.suppress(sqlite3.Error, ValueError, TypeError, AttributeError):
                for (stored,) in connection.execute(_STATE, (unit,)):
                    states[unit] = packing.unpack(stored)
        offset_ns: int | None = None
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
            for (found,) in connection.execute(_OFFSET):
                offset_ns = int(found)
        confirmed_ns: dict[str, int] = {}
        with contextlib.suppress(sqlite3.Error, ValueError, TypeError):
            for payload, created_ns in connection.execute(_NEWEST, (CONFIRMATIONS_READ_MAX,)):
                confirmed_ns.setdefault(_machine(payload), int(created_ns))
    return Remains(states, confirmed_ns, offset_ns, written_ns)


def unsent(path: Path) -> int | None:
    """How many postings were still to be sent, None where that cannot be read. Never raises."""
    try:
        with contextlib.closing(opened(path)) as connection:
            found = {str(state): int(postings) for state, postings in connection.execute(_TALLY)}
    except (sqlite3.Error, OSError, ValueError, TypeError):
        return None
    return sum(postings for state, postings in found.items() if state not in OVER)


def last_sent_ns(database: Path) -> int:
    """When something last began to leave the box, by the mark beside the database; 0 where it does not say."""
    mark = Mark(database)
    try:
        return max((one.at_ns for _, one in mark.read().sent), default=0)
    finally:
        mark.close()


def _machine(payload: bytes) -> str:
    try:
        document: Any = json.loads(payload)
        return str(document["machine"])
    except (ValueError, KeyError, TypeError):
        return ""


def _changed_ns(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0
