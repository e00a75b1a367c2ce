"""How often somebody may ask: a bucket of requests for each, filled steadily. Bounded; knows no token and no HTTP."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from gateway.core.duration import NS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Callable

#: Of those who are remembered; beyond, the one who was quiet longest begins anew.
KEYS_MAX: Final = 4096
MINUTE_NS: Final = NS_PER_UNIT["min"]


class RateLimit:
    """So many a minute for each key, as many at once."""

    def __init__(self, per_minute: int, now_ns: Callable[[], int]) -> None:
        self._full_ns = MINUTE_NS
        self._cost_ns = MINUTE_NS // per_minute
        self._now_ns = now_ns
        self._empty_since_ns: OrderedDict[str, int] = OrderedDict()  # a bucket fills from there on

    def wait_ns(self, key: str) -> int:
        """0: it may, and it is counted. Otherwise how long from now until it may; nothing is counted."""
        now_ns = self._now_ns()
        since_ns = max(self._empty_since_ns.get(key, 0), now_ns - self._full_ns) + self._cost_ns
        if since_ns > now_ns:
            return since_ns - now_ns
        self._empty_since_ns[key] = since_ns
        self._empty_since_ns.move_to_end(key)
        if len(self._empty_since_ns) > KEYS_MAX:
            self._empty_since_ns.popitem(last=False)
        return 0
