"""The audit trail of one run: what every entry says of the time and the versions, and entries that no work unit makes.

Entries of a work unit go with its step (``work_unit/runner.py``); what else happens is written here, one transaction
for each call. It judges nobody, and decides nothing.
"""

from __future__ import annotations

import datetime as dt
from functools import partial
from typing import TYPE_CHECKING, Final

from buffer import audit_chain, audit_taken
from gateway import __version__
from gateway.core.access.roles import ActorRole
from gateway.core.audit.chain import anchor_text
from gateway.core.audit.entry import EntryContent
from gateway.core.audit.told import GATEWAY, Actor, Told, content_of, decision
from gateway.core.duration import NS_PER_S
from gateway.shown.status import AuditView
from gateway.timing.timezone import zone

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from buffer.store import Store
    from config.settings import Settings
    from gateway.timing.clock import SteadyClock

_EPOCH: Final = dt.datetime(1970, 1, 1)  # noqa: DTZ001 - as naive as the wall clock that it is held against
#: Of what nobody asked for.
ITSELF = Actor(GATEWAY, ActorRole.SERVICE.value, "", "")


class Auditing:
    """One store, one clock, and the configuration that is in force."""

    def __init__(self, settings: Settings, store: Store, clock: SteadyClock) -> None:
        self._store = store
        self._clock = clock
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """Entries are made under these settings from here on."""
        self.settings = settings
        self._zone_name = settings.gateway.timezone
        self._zone = zone(self._zone_name)
        self._digest = settings.digest
        self._profile = settings.gateway.profile

    def common(self, at_ns: int) -> EntryContent:
        """What entries of that steady time have in common; the rest is to be filled in."""
        utc_ns = max(self._clock.utc_ns(at_ns), 0)
        offset = self._zone.local(utc_ns) - (_EPOCH + dt.timedelta(seconds=utc_ns // NS_PER_S))
        return EntryContent(
            at_ns=at_ns,
            utc_ns=utc_ns,
            time_quality=self._clock.quality.value,
            utc_offset_s=int(offset.total_seconds()),
            time_zone=self._zone_name,
            user=GATEWAY,
            role=ActorRole.SERVICE.value,
            auth="",
            client="",
            action="",
            change="event",
            entity="",
            config_version=self._digest,
            sw_version=__version__,
        )

    def content(self, told: Told, actor: Actor = ITSELF, reason: str = "") -> EntryContent:
        """The entry of something that happens now."""
        return content_of(told, self._clock.now_ns(), self.common, actor, reason)

    def decision(self, told: Told, actor: Actor, reason: str) -> tuple[EntryContent, ...]:
        """The entry of a decision that happens now, and the signature, where he signs. Raises AuditEntryError."""
        return decision(told, self._clock.now_ns(), self.common, actor, reason)

    def day(self) -> str:
        """The date on the plant's wall clock, YYYY-MM-DD."""
        return self._zone.local(max(self._clock.utc_now_ns(), 0)).date().isoformat()

    async def view(self) -> AuditView:
        """The trail as it ends now. Raises StoreError."""
        head, kept = await audit_taken.head(self._store), await audit_taken.last_anchor(self._store)
        return AuditView(
            entries=0 if head is None else head.seq,
            hash="" if head is None else head.hash,
            anchor="" if kept is None else anchor_text(kept.anchor),
            anchor_day="" if kept is None else kept.day,
            profile=self._profile,
        )

    async def tell(self, told: Told, actor: Actor = ITSELF, reason: str = "") -> None:
        """Write that down; returns once it is durable. Raises StoreError."""
        await self._store.write(partial(audit_chain.append, [self.content(told, actor, reason)]))

    async def mark(self, source: str) -> int:
        """The number that was kept under this name last, 0: none. Raises StoreError."""
        return await audit_taken.mark(self._store, source)

    async def tell_marked(self, told: Iterable[tuple[Told, Actor]], marks: Mapping[str, int]) -> None:
        """Write these down and keep the numbers under their names, all or nothing. Raises StoreError."""
        await audit_taken.take(self._store, [self.content(*one) for one in told], marks=marks)
