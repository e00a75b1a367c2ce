"""Asks a machine to stop where the target of its order is reached: writes the whitelisted signal, after the commit.

The request is in the journal, the writing in the audit trail. It is tried once: a request that a device does not take,
or that was committed right before the gateway died, is not repeated, because by then the machine may be at work on
something else. Whoever looks at the status sees that it failed. Decides nothing.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from buffer.errors import StoreError
from gateway.auditing import ITSELF
from gateway.caller import CALLER, Caller
from gateway.core.audit.told import GATEWAY
from gateway.core.orders.stop_request import StopRequested
from gateway.writing import SignalWriter, WritingError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.store import Store
    from gateway.auditing import Auditing
    from gateway.core.model import Output
    from gateway.parts import Parts

log = structlog.get_logger(__name__)


class StopRequests:
    """The way of these requests to the devices of one gateway."""

    def __init__(self, parts: Parts, store: Store, auditing: Auditing, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._store = store
        self._auditing = auditing
        self._now_ns = now_ns
        self._under_way: set[asyncio.Task[None]] = set()

    def committed(self, name: str, outputs: Sequence[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        for one in outputs:
            if isinstance(one, StopRequested):
                task = asyncio.create_task(self._ask(name, one), name=f"stop {name}")
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _ask(self, name: str, request: StopRequested) -> None:
        CALLER.set(Caller(ITSELF))  # of this task only
        part, why = f"stop of {name}", f"target of order {request.order}/{request.operation} reached"
        try:
            settings, sources = self._auditing.settings, self._parts.sources
            writer = SignalWriter(settings, sources, self._store, self._now_ns, self._auditing.common)
            await writer.write(request.signal, request.value, who=GATEWAY, reason=why)
        except (WritingError, StoreError) as error:
            self._parts.trouble(part, f"{why}, but the machine could not be asked to stop: {error}")
        else:
            self._parts.trouble(part, "")
            log.info("stop asked for", work_unit=name, order=request.order, signal=request.signal)
