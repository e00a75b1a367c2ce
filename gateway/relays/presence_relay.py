"""Tells machines at how many of them a person works at once: after each commit that changed it, and at the start.

What was told and not yet committed there when the gateway died is told again at the start. Decides nothing about time.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from gateway.core.entries import Decided, PresenceShared
from gateway.core.model import JobChanged, Notice, StateChanged
from gateway.core.work.presence import share_news

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.core.model import Output
    from gateway.core.work.presence import ShareNews
    from gateway.parts import Parts

_LOGGED: Final = ("labour.in", "labour.out", "undo")


class PresenceRelay:
    """The way of this news between the work units of one gateway."""

    def __init__(self, parts: Parts, now_ns: Callable[[], int]) -> None:
        self._parts = parts
        self._now_ns = now_ns
        self._under_way: set[asyncio.Task[None]] = set()

    def committed(self, _name: str, outputs: Sequence[Output]) -> None:
        """A work unit committed these; waits for nobody."""
        since_ns = next((at_ns for one in reversed(outputs) if (at_ns := _said_at(one)) is not None), None)
        if since_ns is not None:
            self.told(since_ns)

    def told(self, since_ns: int | None = None) -> None:
        """Tell whoever does not know how it is, and has been from ``since_ns`` on (None: now); waits for nobody."""
        now_ns = self._now_ns()
        runners = self._parts.runners
        for news in share_news((runner.unit, runner.state) for runner in runners.values()):
            entry = PresenceShared(now_ns, news.person, news.machines, since_ns)
            task = asyncio.create_task(self._tell(news, entry), name="presence")
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _tell(self, news: ShareNews, entry: PresenceShared) -> None:
        runner = self._parts.runners.get(news.machine)
        if runner is not None:
            await runner.submit(entry)


def _said_at(one: Output) -> int | None:
    """When an output may have changed who works where; None: it does not."""
    match one:
        case Decided(at_ns=at_ns, verb=verb, refused=refused) if verb in _LOGGED and not refused:
            return at_ns
        case Notice(at_ns=at_ns, code="LOG_IN_EXPIRED") | StateChanged(at_ns=at_ns) | JobChanged(at_ns=at_ns):
            return at_ns
    return None
