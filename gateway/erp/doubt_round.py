"""What was sent, and the database went back to before: asks the targets, and says what is still in doubt.

What the targets prove absent needs nobody; what they have booked, or nobody can tell, waits for a person. It sends
nothing: what has its message again is the forwarder's. What is stopped, and why, is ``buffer/older.py``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from buffer import doubts
from buffer.errors import StoreError
from gateway.connectors.base import LookupKind, MappingError, Posting, Rendered
from gateway.core.audit.entry import SystemAction
from gateway.core.audit.told import Told
from gateway.core.document import message_id_of
from gateway.core.duration import Duration
from gateway.forwarder.asking import NotBookedYetError, looked_up, message_of, more_of, reversed_references
from gateway.lock import DATABASE_NAME

if TYPE_CHECKING:
    from buffer.doubts import Doubt
    from buffer.store import Store
    from gateway.audit.auditing import Auditing
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

LOOK_EVERY_S: Final = 2.0
#: Nothing was in doubt at the start, and nothing comes to be while the gateway runs.
IDLE_S: Final = 3600.0
#: Of one question to a target.
ASK_NS: Final = Duration("30 s")
TROUBLE: Final = "older database"

log = structlog.get_logger(__name__)


class DoubtRound:
    """One gateway; ``run`` it in a task."""

    def __init__(self, store: Store, clock: SteadyClock, parts: Parts, auditing: Auditing) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._auditing = auditing
        self._started_ns = clock.now_ns()

    async def run(self) -> None:
        """For ever; what fails is tried again."""
        while True:
            try:
                is_open = await self.look()
            except StoreError as error:
                log.warning("what is in doubt cannot be read or kept", error=str(error))
                is_open = True
            await asyncio.sleep(LOOK_EVERY_S if is_open else IDLE_S)

    async def look(self) -> bool:
        """Go on with what is in doubt; whether anything is left. Raises StoreError."""
        found = await doubts.open_ones(self._store)
        if not found:
            self._parts.trouble(TROUBLE, "")
            return False
        self._parts.trouble(TROUBLE, _text(found[0], *await doubts.waiting(self._store)))
        await self._render()
        await self._ask()
        for one in await doubts.open_ones(self._store):
            await self._settle(one)
        left = await doubts.open_ones(self._store)
        self._parts.trouble(TROUBLE, _text(left[0], *await doubts.waiting(self._store)) if left else "")
        return bool(left)

    async def _render(self) -> None:
        """Make the messages again that were lost: the same document gives the same bytes."""
        for entry in await doubts.unrendered(self._store):
            connector = self._parts.connectors.get(entry.target)
            if connector is None:
                continue
            try:
                taken_back = await reversed_references(self._parts.outbox, entry)
                message = message_of(connector, entry.payload, taken_back)
            except NotBookedYetError:  # what it takes back is looked up first
                continue
            except MappingError as error:  # a person looks at it
                log.warning("a message cannot be made again", key=entry.key, error=str(error))
                continue
            await doubts.rendered(self._store, entry.id, message[:3], more_of(message))
            forwarder = self._parts.forwarders.get(entry.target)
            if forwarder is not None:
                forwarder.wake()

    async def _ask(self) -> None:
        for one in await doubts.unknown(self._store):
            connector = self._parts.connectors.get(one.target)
            if connector is None or not connector.capabilities.can_lookup:
                continue
            if connector.capabilities.baseline:
                continue  # what it said before the send is lost: nothing it says now proves anything
            limit_ns = connector.capabilities.server_time_limit_ns
            rendered = Rendered(b"", "", one.name)
            place = (one.order, one.operation, one.seq)
            posting = Posting(one.key, message_id_of(one.key), *place, 1, rendered, one.kind)
            lookup = await looked_up(connector, posting, ASK_NS)
            if lookup.kind in (LookupKind.FOUND, LookupKind.ACCEPTED, LookupKind.REFUSED):
                await doubts.found(self._store, one, booked=True)
            # Absence is no proof while the server may still be working on what it got before this start.
            elif lookup.kind is LookupKind.ABSENT and self._clock.now_ns() >= self._started_ns + limit_ns:
                await doubts.found(self._store, one, booked=False)
            elif lookup.kind is LookupKind.UNKNOWN:
                return  # it cannot be asked now

    async def _settle(self, one: Doubt) -> None:
        postings, operations = await doubts.waiting(self._store)
        absent = one.complete and one.absent > 0 and not one.booked and not one.unknown
        if not absent and (postings or operations):
            return
        outcome = "nothing of it is booked: what waited goes on" if absent else "all that waited was looked at"
        told = Told(SystemAction.DATABASE_OLDER.value, "database", DATABASE_NAME, field="doubt", new="over",
                    detail=f"{outcome}; {one.told}")  # fmt: skip
        content = self._auditing.content(told)
        await doubts.settle(self._store, one.number, self._clock.now_ns(), outcome, content, let_go=absent)
        log.info("nothing is in doubt any more", outcome=outcome)
        for forwarder in self._parts.forwarders.values():
            forwarder.wake()


def _text(one: Doubt, postings: int, operations: int) -> str:
    found = f"; of these {one.booked} are booked, {one.absent} are not, {one.unknown} nobody has said yet"
    waits = f"; {postings} postings wait, and so does the next one of {operations} operations"
    todo = "; compare with the ERP (linegate reconcile), then linegate outbox approve"
    return f"{one.told}{found if one.booked or one.absent or one.unknown else ''}{waits}{todo}"
