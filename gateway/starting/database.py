"""Opens the database at the start, and makes a new one where the old one is damaged; says what happened.

A damaged file must not keep the line from being counted: it is kept for a person, and a new epoch begins. It reads no
clock but for the name of what it sets aside.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from buffer import damage, remains
from buffer.checking import SOUND, Check
from buffer.errors import DamagedStoreError
from buffer.store import Store
from gateway.core.audit.entry import SystemAction
from gateway.core.duration import seconds
from gateway.lock import DATABASE_NAME
from gateway.timing.clock import SteadyClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from config.settings import BufferSettings

#: A file under suspicion that is not found sound within this time is set aside: counting matters more.
SUSPECT_CHECK_S: Final = 4.0

log = structlog.get_logger(__name__)


class Incident(NamedTuple):
    """What happened to the database before this run: for the log, the status and the audit trail.

    ``file``: the name of what was set aside, "" where nothing was.
    """

    action: SystemAction
    text: str
    file: str = ""


async def open_database(
    state_dir: Path, settings: BufferSettings, now_ns: Callable[[], int]
) -> tuple[Store, tuple[Incident, ...]]:
    """The database of a state directory, made anew where it is damaged. Raises StoreError, NewerSchemaError."""
    path = state_dir / DATABASE_NAME
    incidents: list[Incident] = []
    reason = await _doubts(path)
    if reason:
        incidents.append(_aside(path, reason))
    for _ in range(2):
        try:
            store = await Store.open(
                path,
                now_ns=now_ns,
                max_bytes=int(settings.max_size),
                reserve_bytes=int(settings.reserve),
                window_s=seconds(settings.group_window),
            )
        except DamagedStoreError as error:
            if incidents:
                raise
            incidents.append(_aside(path, str(error)))
        else:
            for one in incidents:
                log.error("database set aside", what=one.text)
            if store.older is not None and store.older.made_anew and not incidents:
                log.error("the database is new, and another one was there", what=store.older.text)
                incidents.append(Incident(SystemAction.DATABASE_OLDER, store.older.text))
            return store, tuple(incidents)
    raise AssertionError("the second opening returns or raises")


async def _doubts(path: Path) -> str:
    """Why the file is to be set aside before it is opened, "" where it is not."""
    noted = damage.suspicion(path)
    if noted is None:
        return ""
    if noted.aside or noted.times >= damage.BELIEVED_TIMES:
        return noted.reason or "it was being set aside"
    found = await asyncio.to_thread(Check(path, limit_s=SUSPECT_CHECK_S).run)
    if found == SOUND:
        log.warning("the database was suspected and is sound", reason=noted.reason)
        return ""
    return found or f"{noted.reason}, and it could not be checked within {SUSPECT_CHECK_S:g} s"


def _aside(path: Path, reason: str) -> Incident:
    kept = damage.set_aside(path, at_ns=SteadyClock(0).now_ns())
    left = remains.unsent(kept)
    how_many = "how many of its postings were still to be sent cannot be read"
    if left is not None:
        how_many = f"{left} of its postings were still to be sent (linegate buffer salvage {kept.name})"
    text = f"the database was damaged and set aside as {kept.name}: {reason}; {how_many}"
    return Incident(SystemAction.DATABASE_SET_ASIDE, text, kept.name)
