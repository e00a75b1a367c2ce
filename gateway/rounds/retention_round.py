"""Deletes what is old enough, every hour: how old that is the configuration says, and what is never deleted the core.

What a machine has open, or its ERP has not acknowledged, keeps all that was recorded of that machine since it began.
Where the disk is nearly full, single signals and cycles go before their age, the oldest first, but never those.
What went stands in the audit trail: each order together with it, other records as numbers of a class, once a day.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import structlog

from buffer import audit_taken, reconciliation, replays, retention
from buffer.errors import StoreError
from gateway.core.audit.entry import Change, SystemAction
from gateway.core.audit.told import Told
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S, Duration
from gateway.core.retention import CLASS_OF_KIND, THINNED_FIRST, RecordClass, cutoff_ns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.store import Store
    from config.settings import Settings
    from gateway.audit.auditing import Auditing
    from gateway.control import Verb
    from gateway.core.audit.entry import EntryContent
    from gateway.core.unit_state import State
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

EVERY_S: Final = 3600.0
AGAIN_S: Final = 60.0
#: A period's beginning is stored in UTC as it was known then; it may have been put right by so much since.
MARGIN_NS: Final = Duration("1 d")
#: Shares of buffer.max_size in percent: above the first one it is thinned, down to the second.
FULL_PERCENT: Final = 90
THINNED_PERCENT: Final = 80
#: Chunks of rows that are thinned before the size is looked at again.
THIN_CHUNKS: Final = 20
#: Day, as YYYYMMDD, on which the audit trail was last told what went by its age.
DAY_TOLD: Final = "purged, told on"

_JOURNAL: Final = tuple(dict.fromkeys((*CLASS_OF_KIND.values(), RecordClass.ORDER)))

log = structlog.get_logger(__name__)


class Purged(NamedTuple):
    """How much one round deleted."""

    journal_rows: int = 0
    postings: int = 0
    orders: int = 0
    images: int = 0
    answers: int = 0


class RetentionRound:
    """One store; ``run`` it in a task."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._auditing = auditing
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """These ages hold from the next round on."""
        self._rule = settings.retention
        self._replays_ns = None if settings.api is None else int(settings.api.idempotency_keep)

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"retention": self._shown}

    async def run(self) -> None:
        """For ever. Raises StoreError only where a repeat cannot help."""
        while True:
            pause_s = EVERY_S
            try:
                await self.purge()
            except StoreError as error:
                if not error.temporary:
                    raise
                # No line may stop for want of tidying up while the disk is busy, full or failing for now.
                pause_s = AGAIN_S
                log.warning("pruning failed, trying again", error=str(error), retry_s=pause_s)
            await asyncio.sleep(pause_s)

    async def purge(self) -> Purged:
        """One round. Raises StoreError."""
        now_ns, store, rule = self._clock.now_ns(), self._store, self._rule
        floors = await self._floors()
        rows = 0
        for unit, floor_ns in floors.items():
            for one in _JOURNAL:
                rows += await retention.journal(store, unit, one, cutoff_ns(rule, one, now_ns, floor_ns))
        booked = await retention.postings(store, cutoff_ns(rule, RecordClass.CONFIRMATION, now_ns))
        over = await retention.orders(store, cutoff_ns(rule, RecordClass.ORDER, now_ns), now_ns, self._of_order)
        unused, told = await retention.images(store), await retention.answers(store)
        if self._replays_ns is not None:
            await replays.forget(store, now_ns - self._replays_ns)
        await reconciliation.purge(store, cutoff_ns(rule, RecordClass.REPORT, now_ns))
        rows += await self._thin(floors)
        await self._tell()
        purged = Purged(rows, booked, over, unused, told)
        if any(purged):
            log.info("old records deleted", **purged._asdict())
        return purged

    async def view(self) -> tuple[Mapping[str, Any], ...]:
        """What is kept, how long, and from when on it is there (None: nothing was deleted yet). Raises StoreError."""
        since = await retention.kept_since(self._store)
        shown: list[Mapping[str, Any]] = [
            {"class": one.value, "keep": str(getattr(self._rule, one.value)), "since_ns": since.get(one)}
            for one in RecordClass
            if one is not RecordClass.AUDIT
        ]
        return (*shown, {"class": RecordClass.AUDIT.value, "keep": "for ever", "since_ns": None})

    def _of_order(self, order: str) -> EntryContent:
        """What the audit trail is told of an order that goes, together with it."""
        told = Told(
            SystemAction.PURGED.value,
            "order",
            order,
            Change.DELETE.value,
            detail="with its journal of decisions, links and answers; its last numbers stay",
            order=order,
        )
        return self._auditing.content(told, reason=self._why(RecordClass.ORDER))

    async def _tell(self) -> None:
        """What went stands in the audit trail: by its age once a day of the plant, before its age at once."""
        since, today = await retention.kept_since(self._store), int(self._auditing.day().replace("-", ""))
        told_today = await audit_taken.mark(self._store, DAY_TOLD) == today
        found = [one for one in await audit_taken.gone(self._store) if one.how == audit_taken.THINNED or not told_today]
        if not found:
            return
        contents, marks = [], {} if told_today else {DAY_TOLD: today}
        for one in found:
            thinned, since_ns = one.how == audit_taken.THINNED, since.get(one.record_class)
            left = "" if since_ns is None else f"there from {utc(self._clock.utc_ns(since_ns))} on"
            told = Told(
                SystemAction.PURGED.value,
                "records",
                one.record_class.value,
                Change.DELETE.value,
                old=f"{one.records} records",
                new=left or None,
                detail=one.how,
            )
            reason = "before their age: the disk is nearly full" if thinned else self._why(one.record_class)
            contents.append(self._auditing.content(told, reason=reason))
            marks |= one.marks
        await audit_taken.take(self._store, contents, marks=marks)

    def _why(self, record_class: RecordClass) -> str:
        return f"retention.{record_class.value}: {getattr(self._rule, record_class.value)}"

    async def _shown(self, _request: Mapping[str, Any]) -> Any:
        kept = []
        for one in await self.view():
            since_ns = None if one["since_ns"] is None else self._clock.utc_ns(one["since_ns"])
            kept.append({**one, "since_ns": since_ns, "since": None if since_ns is None else utc(since_ns)})
        held = {
            unit: self._clock.utc_ns(floor_ns)
            for unit, floor_ns in (await self._floors()).items()
            if floor_ns is not None
        }
        waiting = [{"machine": unit, "since": utc(since_ns)} for unit, since_ns in held.items()]
        return {"kept": kept, "unconfirmed_since": held, "unconfirmed": waiting}

    async def _floors(self) -> dict[str, int | None]:
        """Since when each machine has something that is open or not acknowledged; None where it has nothing.

        Of one that is not configured any more nobody knows what is open: everything stays.
        """
        waiting = await retention.unconfirmed(self._store)
        offset_ns = self._clock.offset_ns
        floors: dict[str, int | None] = {}
        for unit in await retention.work_units(self._store):
            runner = self._parts.runners.get(unit)
            found = [0] if runner is None else list(_open_since(runner.state))
            found += [_steady_ns(one.from_utc, offset_ns) for one in waiting if one.machine in ("", unit)]
            floors[unit] = min(found, default=None)
        return floors

    async def _thin(self, floors: Mapping[str, int | None]) -> int:
        stats = await self._store.stats()
        if stats.used_bytes * 100 <= stats.max_bytes * FULL_PERCENT:
            return 0
        done, now_ns = 0, self._clock.now_ns()
        for one in THINNED_FIRST:
            going = dict(floors)
            while going:
                for unit, floor_ns in list(going.items()):
                    before_ns = now_ns if floor_ns is None else min(now_ns, floor_ns)
                    deleted = await retention.journal(
                        self._store, unit, one, before_ns, THIN_CHUNKS, audit_taken.THINNED
                    )
                    done += deleted
                    if not deleted:
                        del going[unit]
                stats = await self._store.stats()
                if stats.used_bytes * 100 <= stats.max_bytes * THINNED_PERCENT:
                    log.warning("the disk is nearly full: records went before their age", journal_rows=done)
                    return done
        text = "more than can be thinned is not acknowledged or younger than its age; allow more by buffer.max_size"
        log.warning("the disk is nearly full", journal_rows=done, what=text)
        return done


def _open_since(state: State) -> list[int]:
    """When what is open at a machine began."""
    runs = [run.open_from_ns for run in state.at_work()]
    runs += [run.open_from_ns for run in state.all_runs() if run.anything_open]
    return runs + [one.what.t_from_ns for one in state.bucket.entries]


def _steady_ns(from_utc: str, offset_ns: int) -> int:
    """An instant of a document in steady time, with a margin; 0 where it is not known."""
    if not from_utc:
        return 0
    utc_s = dt.datetime.fromisoformat(from_utc).timestamp()
    return max(int(utc_s) * NS_PER_S - offset_ns - MARGIN_NS, 0)
