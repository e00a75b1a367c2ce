"""What time it is for a simulator: the computer's, or a virtual one that passes only where nothing else is to be done.

A whole shift of a plant then takes seconds, and every event has its exact nanosecond. Knows no machine.
"""

from __future__ import annotations

import asyncio
import selectors
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

Result = TypeVar("Result")

NS_PER_S: Final = 1_000_000_000


def monotonic_ns() -> int:
    """CLOCK_MONOTONIC, or what passes for it."""
    loop = _virtual()
    return time.monotonic_ns() if loop is None else loop.now_ns


def monotonic_s() -> float:
    """The same in seconds."""
    return monotonic_ns() / NS_PER_S


def wall_ns() -> int:
    """Nanoseconds UTC."""
    loop = _virtual()
    return time.time_ns() if loop is None else loop.wall_origin_ns + loop.now_ns


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop that does not wait: where nothing is ready, the time jumps to the next timer.

    ``now_ns`` begins at 0, which is ``wall_origin_ns`` in UTC. Threads are not waited for while a timer is set.
    """

    def __init__(self, wall_origin_ns: int) -> None:
        self.now_ns = 0
        self.wall_origin_ns = wall_origin_ns
        self.waiting_for_quiet: list[tuple[int, asyncio.Future[None]]] = []
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """The virtual seconds."""
        return self.now_ns / NS_PER_S


class _Jumping(selectors.DefaultSelector):
    """Takes what is ready; a time that somebody would have waited passes at once."""

    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """What can be read or written."""
        forever = timeout is None and not self._loop.waiting_for_quiet
        found = super().select(None if forever else 0)
        if found or timeout == 0:
            return found
        waiting = self._loop.waiting_for_quiet
        if waiting:
            first = min(turn for turn, _ in waiting)
            self._loop.waiting_for_quiet = [one for one in waiting if one[0] != first]
            for turn, future in waiting:
                if turn == first and not future.done():
                    future.set_result(None)
        elif timeout is not None:
            # Rounded: a float of seconds is off by less than a nanosecond, and a timer must not fire one too late.
            self._loop.now_ns += max(1, round(timeout * NS_PER_S))
        return found


async def sleep_until_ns(at_ns: int) -> None:
    """Wait until the monotonic clock shows exactly this, or more if it is real."""
    while (left_ns := at_ns - monotonic_ns()) > 0:  # noqa: ASYNC110 - it waits for nothing but the time
        await asyncio.sleep(left_ns / NS_PER_S)


async def quiet(turn: int = 0) -> None:
    """Wait until everything has happened that happens at this virtual instant; returns at once in real time.

    Of several that wait, those of the lowest turn go on, and then what follows from it happens first.
    """
    loop = _virtual()
    if loop is not None:
        future = loop.create_future()
        loop.waiting_for_quiet.append((turn, future))
        await future


def run_virtually(work: Coroutine[Any, Any, Result], *, wall_origin_ns: int = 0) -> Result:
    """Run to the end in virtual time, then cancel what was left running."""
    with asyncio.Runner(loop_factory=lambda: VirtualLoop(wall_origin_ns)) as runner:
        return runner.run(work)


def _virtual() -> VirtualLoop | None:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return None
    return loop if isinstance(loop, VirtualLoop) else None
