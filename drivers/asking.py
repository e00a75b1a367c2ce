"""A reading out of turn: what is asked for at a change of orders, on both sides of a driver.

The driver reads in its own loop, so that no value overtakes another; here is only what was asked and who waits for it.
A driver that cannot do it simply has no ``read_now``. Reads nothing itself.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol, runtime_checkable

from drivers.base import Reading

if TYPE_CHECKING:
    from drivers.base import Driver


class AskedReading(Reading):
    """A reading that answers every question up to this number. It may have no values: then they cannot be read."""

    number: int = 0


class Question(NamedTuple):
    """Signals (names without the source) that somebody wants to be read now."""

    signals: frozenset[str]
    number: int

    def answered(self, reading: Reading) -> AskedReading:
        """This reading as the answer."""
        answer = AskedReading(*reading)
        answer.number = self.number
        return answer


@runtime_checkable
class ReadsNow(Protocol):
    """A driver that can read out of turn."""

    def read_now(self, question: Question) -> None:
        """Have ``readings()`` yield an ``AskedReading`` as soon as it can; never waits, never raises."""


class Asked:
    """What a driver was asked for and has not begun to read. Questions become one."""

    def __init__(self) -> None:
        self._question: Question | None = None
        self._came = asyncio.Event()

    def put(self, question: Question) -> None:
        """One more; wakes ``until``."""
        before = frozenset() if self._question is None else self._question.signals
        self._question = Question(before | question.signals, question.number)
        self._came.set()

    def take(self) -> Question | None:
        """What is asked for, which is begun now; None: nothing."""
        question, self._question = self._question, None
        self._came.clear()
        return question

    async def until(self, due_s: float) -> Question | None:
        """Wait for that, at most until this time of the event loop; it is begun now. A short break in any case."""
        await asyncio.sleep(0)
        if self._question is None and asyncio.get_running_loop().time() < due_s:
            try:
                async with asyncio.timeout_at(due_s):
                    await self._came.wait()
            except TimeoutError:
                pass
        return self.take()


class Questions:
    """Those who wait for readings of one source."""

    def __init__(self) -> None:
        self._last = 0
        self._waiting: dict[int, asyncio.Future[bool]] = {}

    async def ask(self, driver: Driver | None, signals: frozenset[str], timeout_s: float) -> bool:
        """Whether the signals were read and handed over in time; False at once where this driver cannot."""
        if not isinstance(driver, ReadsNow):
            return False
        self._last += 1
        number, answer = self._last, asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            driver.read_now(Question(signals, number))
            async with asyncio.timeout(timeout_s):
                return await answer
        except TimeoutError:
            return False
        finally:
            del self._waiting[number]

    def heard(self, reading: Reading) -> None:
        """A reading was handed over."""
        if isinstance(reading, AskedReading):
            self._tell(reading.number, there=True)

    def lost(self) -> None:
        """The link is lost: nobody waits any longer."""
        self._tell(self._last, there=False)

    def _tell(self, number: int, *, there: bool) -> None:
        for one, answer in self._waiting.items():
            if one <= number and not answer.done():
                answer.set_result(there)
