"""Tells machines how far other operations of their orders have got: after each commit, and once at the start.

What was told and not yet committed there when the gateway died is told again at the start, from what is remembered.
Decides nothing about orders.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.core.model import JobChanged, OrderProgress
from gateway.core.orders.progress import before, with_progress

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from buffer.store import Store
    from gateway.core.model import Output
    from gateway.core.unit_state import State
    from gateway.parts import Parts
    from gateway.runner import Runner


class ProgressRelay:
    """The way of this news between the work units of one gateway."""

    def __init__(self, parts: Parts, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._now_ns = now_ns
        self._under_way: set[asyncio.Task[None]] = set()

    def committed(self, name: str, outputs: Sequence[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        changed = [
            one.record for one in outputs if isinstance(one, JobChanged) and one.previous is not one.record.state
        ]
        if not changed:
            return
        for other, runner in self._parts.runners.items():
            waited_for = {before(run) for run in runner.state.queue} if other != name else set()
            news = tuple(record for record in changed if record.job.key in waited_for)
            if news:
                task = asyncio.create_task(self._tell(runner, OrderProgress(self._now_ns(), news)), name="progress")
                self._under_way.add(task)
                task.add_done_callback(self._under_way.discard)

    async def _tell(self, runner: Runner, news: OrderProgress) -> None:
        await runner.submit(news)


async def informed(store: Store, state: State) -> State:
    """A stored state with what is remembered of the operations that its orders wait for. Raises StoreError."""
    keys = sorted({key for key in map(before, state.open_runs()) if key is not None})
    found = [await store.job_record(*key) for key in keys]
    return with_progress(state, [record for record in found if record is not None])
