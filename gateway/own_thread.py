"""A blocking call in a thread of its own, which nobody has to wait for, not even the end of the process.

A disk or a server that is gone may never answer, and nothing can end a call to it: in a pool it would take a thread for
ever, and the end of the process would wait for it. It bounds neither how long a call takes nor how many there are.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def begin(call: Callable[[], T], name: str) -> asyncio.Future[T]:
    """Begin the call; how it ended is in the future, which must not be cancelled: wait for it by ``asyncio.wait``.

    ``name`` is that of the thread. Raises OSError where the system has no thread for it.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[T] = loop.create_future()
    # Whoever asked may be gone by then; that nobody asks how it ended is no error.
    ended.add_done_callback(asyncio.Future.exception)
    try:
        threading.Thread(target=_work, args=(call, loop, ended), name=name, daemon=True).start()
    except RuntimeError as error:
        raise OSError(errno.EAGAIN, f"no thread for it ({error}): the machine has too many") from error
    return ended


async def run(call: Callable[[], T], name: str) -> T:
    """The result of the call; whoever is cancelled leaves it to itself. Raises what the call raises, OSError."""
    ended = begin(call, name)
    await asyncio.wait([ended])
    return ended.result()


class Turns:
    """Calls one after the other. One whose asker has gone still goes on, and is waited for first."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._turn = asyncio.Lock()
        self._running: asyncio.Future[Any] | None = None

    async def run(self, call: Callable[[], T]) -> T:
        """The result of the call, when it is its turn. Raises what the call raises, OSError."""
        async with self._turn:
            if self._running is not None:
                await asyncio.wait([self._running])
            self._running = ended = begin(call, self._name)
            ended.add_done_callback(self._over)
            await asyncio.wait([ended])
            return ended.result()

    def _over(self, ended: asyncio.Future[Any]) -> None:
        if self._running is ended:  # what it found is not kept for one who has gone
            self._running = None


def _work(call: Callable[[], T], loop: asyncio.AbstractEventLoop, ended: asyncio.Future[T]) -> None:
    try:
        result = call()
    except BaseException as error:  # noqa: BLE001 - a thread has no caller: whatever it is goes to who waits for it
        _tell(loop, ended.set_exception, error)
    else:
        _tell(loop, ended.set_result, result)


def _tell(loop: asyncio.AbstractEventLoop, tell: Callable[[T], None], what: T) -> None:
    # After the end of the loop nobody is there to be told.
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell, what)
