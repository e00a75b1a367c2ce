"""The tasks of one run, by name: started, stopped on purpose, and watched for an end that nobody wanted.

Knows nothing of what they do.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable


class Tasks:
    """Tasks that must not end by themselves, except in peace: an ordinary return is no failure."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}
        self._ended: asyncio.Queue[asyncio.Task[None]] = asyncio.Queue()

    def start(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        """Start one under a name that is free."""
        assert name not in self._running, name
        task = asyncio.create_task(work, name=name)
        self._running[name] = task
        task.add_done_callback(self._on_end)

    async def stop(self, names: Iterable[str]) -> None:
        """Cancel these and wait for their end; names that do not run are passed over."""
        tasks = [self._running.pop(name) for name in list(names) if name in self._running]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def finish(self, names: Iterable[str], timeout_s: float) -> None:
        """Let these come to their own end, for so long; then they are cancelled."""
        names = list(names)
        tasks = [self._running[name] for name in names if name in self._running]
        if tasks:
            await asyncio.wait(tasks, timeout=timeout_s)
        await self.stop(names)

    def names(self, kind: str) -> list[str]:
        """Names that begin with a word (``source``), in the order of their start."""
        return [name for name in self._running if name.startswith(f"{kind} ")]

    async def failed(self) -> asyncio.Task[None]:
        """The next one that ended with an error and was not stopped."""
        while True:
            task = await self._ended.get()
            if not task.cancelled() and task.exception() is not None:
                return task

    def _on_end(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            task.exception()  # it is heard by now, even where nobody asks ``failed()`` any more
        if self._running.get(task.get_name()) is task:
            del self._running[task.get_name()]
            self._ended.put_nowait(task)
