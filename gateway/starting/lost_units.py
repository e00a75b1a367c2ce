"""Tells each work unit of a new database what the lost one before leaves unknown, before it hears anything else.

What cannot be known is dated by the last state in the file that was set aside; where that cannot be read, by the work
unit's last confirmation, by what left the box last, or by the file's own time. Books nothing, and changes no file.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import structlog

from buffer import remains
from gateway.core import snapshot

if TYPE_CHECKING:
    from pathlib import Path

    from buffer.remains import Remains
    from buffer.store import Store
    from gateway.core.model import DatabaseLost
    from gateway.core.work_unit import WorkUnit
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

log = structlog.get_logger(__name__)


class _Since(NamedTuple):
    """``at_ns`` in the time of now; ``measured``: what was made since then has been counted nowhere, and no more."""

    at_ns: int
    measured: bool


async def tell_lost(parts: Parts, store: Store, clock: SteadyClock) -> Parts:
    """Hand it over to whoever begins anew, once: their first commit says that they were told. Raises StoreError.

    Returns the parts, whose work units have it before anything else in their queues.
    """
    stored = await store.snapshots()
    new = [name for name in parts.runners if name not in stored]
    aside = _newest_aside(store.path)
    made_anew = store.older is not None and store.older.made_anew
    if not new or (aside is None and not made_anew):
        return parts
    path = store.path.with_name(f"{store.path.name}.gone") if aside is None else aside
    found = await asyncio.to_thread(remains.read, path, new)
    sent_ns = await asyncio.to_thread(remains.last_sent_ns, store.path)
    for name in new:
        if stored and name not in found.states:
            continue  # it is not in the lost database, and others went on since: it was configured later
        runner = parts.runners[name]
        given = lost_of(runner.unit, found, sent_ns, clock, alone=len(parts.runners) == 1)
        log.error("what the lost database leaves unknown is declared", work_unit=name, file=path.name)
        await runner.put((given,))
    return parts


def lost_of(unit: WorkUnit, found: Remains, sent_ns: int, clock: SteadyClock, *, alone: bool) -> DatabaseLost:
    """What a work unit is to be told. ``sent_ns``: when something last began to leave, 0 unknown; ``alone``: no other.

    The clock's quality decides whether a time bounds anything.
    """
    name, now_ns = unit.identity.machine, clock.now_ns()
    known = clock.quality.known
    kept = found.states.get(name)
    if kept is not None:
        try:
            state = snapshot.load(unit, kept)
        except snapshot.SnapshotError as error:
            log.warning("the state in the lost database cannot be read", work_unit=name, reason=str(error))
        else:
            offset_ns = state.utc_offset_ns if found.offset_ns is None else found.offset_ns
            return unit.lost.left_in(state, now_ns, offset_ns - clock.offset_ns, measured=known)
    since = _since(found, name, sent_ns, alone=alone)
    return unit.lost.nothing_left(now_ns, max(since.at_ns - clock.offset_ns, 0), measured=since.measured and known)


def _since(found: Remains, name: str, sent_ns: int, *, alone: bool) -> _Since:
    """Since when nothing is known of a work unit, in UTC.

    What was counted behind its last confirmation stood only in the lost state. The mark names no work unit: where there
    are several, the last that left may have been another one's. The file's time says nothing of what was open then.
    """
    offset_ns = found.offset_ns or 0
    if name in found.confirmed_ns:
        return _Since(found.confirmed_ns[name] + offset_ns, measured=True)
    if sent_ns:
        return _Since(sent_ns + offset_ns, measured=alone)
    return _Since(found.written_ns, measured=False)


def _newest_aside(path: Path) -> Path | None:
    """The database that was set aside last, None where none is here any more."""
    found = [one for one in path.parent.glob(f"{path.name}.damaged-*") if one.name.rpartition("-")[2].isdecimal()]
    return max(found, key=lambda one: int(one.name.rpartition("-")[2]), default=None)
