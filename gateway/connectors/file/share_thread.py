"""One thread at a time for the blocking calls to one share, so that a share that hangs holds up nothing else.

A call to a server that is gone may never return, and nothing can end it. It keeps its own thread, which nobody waits
for, not even the end of the process; until it returns, other calls are refused instead of piling up behind it. What is
called is the connector's business.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, TypeVar

from gateway import own_thread
from gateway.connectors.file.place import FolderError
from gateway.core.duration import NS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

ADVICE: Final = "is its server down, or the mount stale? A share that is only slow needs a longer timeout"


class ShareThread:
    """Runs blocking calls, one after the other. ``timeout_ns`` bounds each of them, in nanoseconds."""

    def __init__(self, place: str, *, timeout_ns: int) -> None:
        self._place = place
        self._timeout_s = timeout_ns / NS_PER_S
        self._turn = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None
        self._started_s = 0.0

    async def run(self, call: Callable[[], T]) -> T:
        """The result of the call, when it is its turn.

        Raises what the call raises, and FolderError: ``written`` where the call did not return within the limit, not
        ``written`` where it was never begun, because the call before it hangs.
        """
        async with self._turn:
            await self._wait_for_the_one_before()
            loop = asyncio.get_running_loop()
            try:
                ended = own_thread.begin(call, f"share {self._place}")
            except OSError as error:
                raise FolderError(f"{self._place}: {error.strerror}") from error
            self._running, self._started_s = ended, loop.time()
            await asyncio.wait([ended], timeout=self._timeout_s)
            if not ended.done():
                raise FolderError(f"{self._place}: no answer within {self._timeout_s:g} s; {ADVICE}", written=True)
            return ended.result()

    async def _wait_for_the_one_before(self) -> None:
        if self._running is None or self._running.done():
            return
        # The one before was given up by its caller: it still has the rest of its own time.
        since_s = asyncio.get_running_loop().time() - self._started_s
        await asyncio.wait([self._running], timeout=max(self._timeout_s - since_s, 0))
        if not self._running.done():
            raise FolderError(f"{self._place}: a call has hung for {max(since_s, self._timeout_s):.0f} s; {ADVICE}")
