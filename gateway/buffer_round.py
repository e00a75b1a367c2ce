"""Looks at the buffer every few seconds: its figures for every display, one sample a minute, and what is wrong with it.

What it tells is the object that ``linegate buffer status`` shows. It changes nothing but the samples, and repairs
nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog

from buffer import samples
from buffer.beside import classes, figures
from buffer.errors import StoreError
from buffer.figures import OK
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S
from gateway.forwarder.target_status import Link
from gateway.status import in_utc, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from buffer.figures import BufferFigures
    from buffer.store import Store
    from gateway.clock import SteadyClock
    from gateway.control import Verb
    from gateway.parts import Parts

#: What is wrong must be shown within 5 s.
EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)


class BufferRound:
    """One store; ``run`` it in a task. ``set_aside``: names of damaged databases that this run has set aside."""

    def __init__(self, store: Store, clock: SteadyClock, parts: Parts, set_aside: Sequence[str] = ()) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._set_aside = set_aside
        self._sampled_ns = 0
        self._told: tuple[str, ...] = ()
        parts.buffer = self.figures

    def table(self) -> dict[str, Verb]:
        """Verbs by name."""
        return {"buffer": self._shown}

    async def run(self) -> None:
        """For ever; a buffer that cannot be asked is shown as such."""
        while True:
            await self._look()
            await asyncio.sleep(EVERY_S)

    async def figures(self) -> BufferFigures:
        """The figures now, in steady time. Raises StoreError."""
        found = await figures(self._store, self._clock.now_ns())
        events = self._parts.monitor.event_figures() if self._parts.monitor is not None else None
        return replace(found, events=events, degraded=self._degraded(found))

    async def _look(self) -> None:
        try:
            found = await self.figures()
            if found.at_ns - self._sampled_ns >= samples.EVERY_NS:
                # Marked first: a disk that is full is not asked for it again every 2 s.
                self._sampled_ns = found.at_ns
                most = self._store.max_bytes
                await self._store.write(partial(samples.take, at_ns=found.at_ns, max_bytes=most))
        except StoreError as error:
            self._tell((f"buffer: {error}",))
            return
        if self._parts.monitor is not None:
            self._parts.monitor.buffer_changed(found)
        self._tell(found.degraded)

    def _tell(self, degraded: tuple[str, ...]) -> None:
        if self._parts.monitor is not None:
            self._parts.monitor.degraded(degraded)
        kinds = tuple(text.partition(":")[0] for text in degraded)
        if kinds != self._told:
            self._told = kinds
            if degraded:
                log.warning("degraded", reasons=list(degraded))
            else:
                log.info("no longer degraded")

    def _degraded(self, found: BufferFigures) -> tuple[str, ...]:
        """What is wrong, in words. Also what a part says of itself (``Parts.trouble``)."""
        texts = []
        failing = self._store.failing
        if failing is not None:
            ago_ns = int((asyncio.get_running_loop().time() - failing[1]) * NS_PER_S)
            texts.append(
                f"buffer: nothing can be written since {self._utc(found.at_ns - ago_ns)}, the last commit was "
                f"{self._utc(found.last_commit_ns)}: {failing[0]}; it is tried again all the time"
            )
        room = found.room
        if room.level != OK:
            texts.append(
                f"room: {self._store.path}: {room.reason}; allow more by buffer.max_size, free the disk, "
                "or let the targets take what waits"
            )
        texts += [
            f"set aside: {name}: the database was damaged; see linegate buffer verify" for name in self._new(found)
        ]
        for name, forwarder in self._parts.forwarders.items():
            status = forwarder.status
            if status.link is Link.DOWN:
                texts.append(
                    f"target {name}: cannot be reached since {self._utc(status.since_ns)}, last booked "
                    f"{self._utc(status.last_posted_ns)}, next attempt {self._utc(status.next_retry_ns)}: "
                    f"{status.last_error}; what is made waits; check the network and the ERP"
                )
        return (*texts, *self._parts.troubles())

    def _new(self, found: BufferFigures) -> tuple[str, ...]:
        return tuple(name for name in found.lost.set_aside if name in self._set_aside)

    def _utc(self, at_ns: int | None) -> str:
        return utc(None if at_ns is None else self._clock.utc_ns(at_ns)) or "-"

    async def _shown(self, request: Mapping[str, Any]) -> Any:
        found = await self.figures()
        document = to_json(found if request.get("steady") is True else in_utc(found, self._clock.utc_ns))
        document["classes"] = [one._asdict() for one in await classes(self._store)]
        return document
