"""How many requests may fail in a second, over all targets together. No clock, no I/O: the time is handed in.

It never stops a request of a target that answers: only one that has just failed asks it before it tries again. What was
under way when a target failed cannot be called back, so one burst of up to ``parallel_lanes`` may go beyond it.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.core.duration import NS_PER_S

#: Failing requests in any second, over all targets.
FAILING_PER_S_MAX: Final = 12


class FailureBudget:
    """The failures of the last second; one object for all targets of a process."""

    def __init__(self, per_s: int = FAILING_PER_S_MAX) -> None:
        self._failed_ns: deque[int] = deque(maxlen=per_s)

    def failed(self, now_ns: int) -> None:
        """A request failed just now."""
        self._failed_ns.append(now_ns)

    def wait_ns(self, now_ns: int) -> int:
        """How long whoever failed last must wait until one more may fail, 0: not at all."""
        if len(self._failed_ns) < (self._failed_ns.maxlen or 0):
            return 0
        return max(self._failed_ns[0] + NS_PER_S - now_ns, 0)
