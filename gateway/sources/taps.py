"""Listens to what reaches the work units, or comes from a source, for recordings. Bounded; changes nothing."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from gateway.core.duration import Duration
from gateway.trial.nobody import Persons
from gateway.trial.recording import row

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from gateway.core.model import Input

TAPS_MAX: Final = 4
#: Inputs of one recording that nobody has fetched yet; then it ends, because a gap would be a lie.
WAITING_MAX: Final = 50_000
#: A recording that nobody fetches from for so long is given up.
ABANDONED_AFTER_NS: Final = Duration("30 s")

FULL: Final = f"more than {WAITING_MAX} inputs waited to be fetched"


class Tap:
    """One recording under way: what was heard and is not fetched yet."""

    def __init__(self, kind: str, name: str, now_ns: int) -> None:
        self.kind = kind
        self.name = name
        self.asked_ns = now_ns
        self.full = False
        self.persons = Persons()
        self._rows: deque[list[Any]] = deque()

    def hear(self, inputs: Iterable[Input]) -> None:
        """Keep what was heard, up to the limit."""
        if self.full:
            return
        for given in inputs:
            data = row(given, self.persons)
            if data is not None:
                self._rows.append(data)
        self.full = len(self._rows) >= WAITING_MAX

    def take(self, most: int) -> list[list[Any]]:
        """The oldest rows that wait."""
        return [self._rows.popleft() for _ in range(min(most, len(self._rows)))]


class Taps:
    """The recordings under way in one gateway."""

    def __init__(self, now_ns: Callable[[], int]) -> None:
        self._now_ns = now_ns
        self._taps: list[Tap] = []

    def heard(self, kind: str, name: str, inputs: Iterable[Input]) -> None:
        """Inputs of a machine or values of a source; called for everything, so it is quick where nobody listens."""
        if not self._taps:
            return
        self._drop_abandoned()
        for tap in self._taps:
            if tap.kind == kind and tap.name == name:
                tap.hear(inputs)

    def open(self, kind: str, name: str) -> Tap | None:
        """Listen from now on; None where too many do already."""
        self._drop_abandoned()
        if len(self._taps) >= TAPS_MAX:
            return None
        tap = Tap(kind, name, self._now_ns())
        self._taps.append(tap)
        return tap

    def close(self, tap: Tap) -> None:
        """Listen no longer."""
        if tap in self._taps:
            self._taps.remove(tap)

    def is_open(self, tap: Tap) -> bool:
        """Whether it is listened to."""
        return tap in self._taps

    def touch(self, tap: Tap) -> bool:
        """Somebody fetches from it; False where it was given up."""
        tap.asked_ns = self._now_ns()
        return tap in self._taps

    def _drop_abandoned(self) -> None:
        limit_ns = self._now_ns() - ABANDONED_AFTER_NS
        self._taps = [tap for tap in self._taps if tap.asked_ns >= limit_ns]
