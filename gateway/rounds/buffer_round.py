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
from buffer.notices import WAITING_MAX
from gateway.core.document import utc
from gateway.core.duration import NS_PER_S
from gateway.forwarder.breaker import BreakerState
from gateway.forwarder.target_status import Link
from gateway.shown.status import to_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from buffer.figures import BufferFigures
    from buffer.store import Store
    from gateway.control import Verb
    from gateway.forwarder.target_status import TargetStatus
    from gateway.parts import Parts
    from gateway.timing.clock import SteadyClock

#: What is wrong must be shown within 5 s.
EVERY_S: Final = 2.0

log = structlog.get_logger(__name__)


class BufferRound:
    """One store; ``run`` it in a task."""

    def __init__(self, store: Store, clock: SteadyClock, parts: Parts) -> None:
        self._store = store
        self._clock = clock
        self._parts = parts
        self._sampled_ns = 0
        self._told: tuple[str, ...] = ()
        self._last: BufferFigures | None = None
        #: When each kind of trouble was first seen, steady time.
        self._began_ns: dict[str, int] = {}
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
        """The figures now, in steady time; of a buffer that cannot be read the last ones, which say so.

        Raises StoreError where there are none yet.
        """
        try:
            found = await figures(self._store, self._clock.now_ns(), self._clock.offset_ns)
        except StoreError as error:
            if self._last is None:
                raise
            told = f"buffer: cannot be read, the figures are those of {self._utc(self._last.at_ns)}: {error}"
            return replace(self._last, degraded=self._since_when((told, *self._degraded(self._last))))
        events = self._parts.monitor.event_figures() if self._parts.monitor is not None else None
        self._last = replace(found, events=events)
        return replace(self._last, degraded=self._since_when(self._degraded(self._last)))

    async def _look(self) -> None:
        try:
            found = await self.figures()
            if found.at_ns - self._sampled_ns >= samples.EVERY_NS:
                # Marked first: a disk that is full is not asked for it again every 2 s.
                self._sampled_ns = found.at_ns
                most = self._store.max_bytes
                await self._store.write(partial(samples.take, at_ns=found.at_ns, max_bytes=most))
        except StoreError as error:
            self._tell(self._since_when((f"buffer: {error}", *self._parts.troubles())))
            return
        if self._parts.monitor is not None:
            self._parts.monitor.buffer_changed(found)
        self._tell(found.degraded)

    def _tell(self, degraded: tuple[str, ...]) -> None:
        if self._parts.monitor is not None:
            self._parts.monitor.degraded(degraded)
        kinds = tuple(map(_kind, degraded))
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
            f"set aside: {name}: the database was damaged; read what it had still to send out of that file (linegate "
            "buffer salvage), compare with the ERP (linegate reconcile), then move it away"
            for name in found.lost.set_aside
        ]
        texts += [text for name, one in self._parts.forwarders.items() if (text := self._target(name, one.status))]
        texts += [
            f"notices {one.target}: {one.notices_left_out} were not made, because {WAITING_MAX} waited; see what it "
            "does not take (linegate outbox list --kind notice), retry or discard it; the next one says how many"
            for one in found.targets
            if one.notices_left_out and self._is_told(one.target)
        ]
        if found.events is not None and found.events.error:
            texts.append(
                f"events: {found.events.error}; {found.events.waiting} wait for the broker, no confirmation is "
                "touched; it is tried again all the time"
            )
        return (*texts, *self._parts.troubles())

    def _target(self, name: str, status: TargetStatus) -> str:
        """Why nothing is sent to it, "" where something is."""
        if status.link is Link.DOWN:
            why, todo = f"cannot be reached since {self._utc(status.since_ns)}", "check the network and the ERP"
        elif status.failures and status.breaker != BreakerState.CLOSED:
            why, todo = "answers, and nothing is sent but trials", "put right what it says"
        else:
            return ""
        return (
            f"target {name}: {why}, last booked {self._utc(status.last_posted_ns)}, last answer "
            f"{self._utc(status.last_success_ns)}, next attempt {self._utc(status.next_retry_ns)}: "
            f"{status.last_error}; what is made waits; {todo}"
        )

    def _is_told(self, target: str) -> bool:
        """Whether it is told notices: who is told none any more misses none, and nothing would ever say so to it."""
        connector = self._parts.connectors.get(target)
        return connector is not None and bool(connector.capabilities.notices) and target in self._parts.forwarders

    def _since_when(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Each with the time at which it was first so, where it does not say that itself."""
        now_ns = self._clock.now_ns()
        kinds = {_kind(text) for text in texts}
        self._began_ns = {kind: self._began_ns.get(kind, now_ns) for kind in kinds}
        return tuple(
            text if " since " in text else f"{text} (since {self._utc(self._began_ns[_kind(text)])})" for text in texts
        )

    def _utc(self, at_ns: int | None) -> str:
        return utc(None if at_ns is None else self._clock.utc_ns(at_ns)) or "-"

    async def _shown(self, request: Mapping[str, Any]) -> Any:
        found = await self.figures()
        document = to_json(found, None if request.get("steady") is True else self._clock.utc_ns)
        document["classes"] = [one._asdict() for one in await classes(self._store)]
        return document


def _kind(text: str) -> str:
    return text.partition(":")[0]
