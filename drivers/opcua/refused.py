"""Variables that the server refuses: each is asked for again after its own growing wait, and said to be BAD once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from drivers.base import Reading, TelemetryBlock
from gateway.core.model import DataValue, Status

if TYPE_CHECKING:
    from drivers.opcua.items import Item

#: A refused node is tried again after this, doubling up to the limit.
RETRY_FIRST_S: Final = 1.0
RETRY_MAX_S: Final = 60.0
#: A node that is gone again within this was never really back: its wait goes on growing.
BACK_AFTER_S: Final = 60.0


class Refused:
    """The refused variables of one connection. Times are those of the event loop, in seconds."""

    def __init__(self, where: str, problems: dict[str, str]) -> None:
        self._where = where
        self._problems = problems
        self._items: list[Item] = []
        self._unsaid: list[Item] = []  # not yet delivered as BAD
        self.next_s = math.inf

    def add(self, item: Item, why: str, now_s: float, *, said: bool = False) -> None:
        """Take an item that was refused; ``said``: the core knows it to be BAD already."""
        for tap in item.taps:
            self._problems[tap.name] = f"{self._where}: node {item.text} refused: {why}"
        if item.accepted_s and now_s - item.accepted_s > BACK_AFTER_S:
            item.refused_times = 0
            item.accepted_s = 0.0
        if not item.bad_said and not said:
            self._unsaid.append(item)
        item.bad_said = True
        wait_s = min(RETRY_FIRST_S * 2.0 ** min(item.refused_times, 30), RETRY_MAX_S)
        item.refused_times += 1
        item.retry_at_s = now_s + wait_s
        self._items.append(item)
        self.next_s = min(self.next_s, item.retry_at_s)

    def accepted(self, item: Item, now_s: float) -> None:
        """The server takes it now: what was wrong is over."""
        item.accepted_s = now_s
        item.bad_said = False
        for tap in item.taps:
            self._problems.pop(tap.name, None)

    def take_due(self, now_s: float) -> list[Item]:
        """The items whose wait is over; they come back by ``add`` or ``accepted``."""
        due = [item for item in self._items if item.retry_at_s <= now_s]
        self._items = [item for item in self._items if item.retry_at_s > now_s]
        self.next_s = min((item.retry_at_s for item in self._items), default=math.inf)
        return due

    def reading(self, now_ns: int) -> Reading | None:
        """BAD for what was refused since the last call; None where that is nothing."""
        if not self._unsaid:
            return None
        taps = [tap for item in self._unsaid for tap in item.taps]
        self._unsaid = []
        values = tuple(DataValue(tap.name, None, Status.BAD, None, now_ns) for tap in taps if tap.rule)
        names = tuple(tap.name for tap in taps if tap.telemetry)
        return Reading(values, (TelemetryBlock(names, (None,) * len(names), now_ns),) if names else ())
