"""Now and then lets a connector clear away its own old traces, and says what may still be asked for.

Does not decide what is old: that is the connector's. Whatever goes wrong is told and tried again later; nothing waits
for it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from gateway.connectors.base import Sweeps

if TYPE_CHECKING:
    from buffer.outbox import Outbox
    from gateway.connectors.base import Connector

#: From one time to the next, and where there was more than could be done at once.
SWEEP_INTERVAL_S: Final = 3600.0
MORE_INTERVAL_S: Final = 60.0
#: Postings that are not over; with more of them nothing is cleared away.
ASKED_MAX: Final = 50_000

_log = structlog.get_logger(__name__)


class Sweeper:
    """The sweeps of one target, one at a time."""

    def __init__(self, name: str, connector: Connector, outbox: Outbox) -> None:
        self._name = name
        self._connector = connector if isinstance(connector, Sweeps) and connector.capabilities.sweeps else None
        self._outbox = outbox
        self._next_s: float | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin one, if it is time; the first one an interval after the first call."""
        now_s = asyncio.get_running_loop().time()
        if self._next_s is None:
            self._next_s = now_s + MORE_INTERVAL_S
        if self._connector is not None and now_s >= self._next_s and (self._task is None or self._task.done()):
            self._next_s = now_s + SWEEP_INTERVAL_S
            self._task = asyncio.create_task(self._run(), name=f"{self._name}: sweep")

    async def end(self) -> None:
        """Wait for nothing."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> bool:
        """Clear away what may go; whether there is more. Raises StoreError, ConnectorError."""
        assert self._connector is not None
        asked = await self._outbox.asked_for(self._name, ASKED_MAX)
        return asked is not None and await self._connector.sweep(frozenset(asked))

    async def _run(self) -> None:
        try:
            if await self.sweep():
                self._next_s = asyncio.get_running_loop().time() + MORE_INTERVAL_S
        except Exception as error:  # noqa: BLE001 - whatever it was, nothing depends on it
            _log.warning("old files stay", target=self._name, error=str(error))
